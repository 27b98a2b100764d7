"""The campaign as one HTML page that works offline: numbers, plots, answers side by side, config.

Plots are drawn by Vega-Lite, which is inlined into the page (docs/adr/0002-report-plots.md). The
page's content security policy forbids every request and every script but the three of the page
itself, so text from a model can neither run nor call home, escaped or not.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_core.atomic import write_text
from dpo_core.evaluation.round_metrics import COLUMNS
from flows.show.answers import policies, prompts
from flows.show.as_json import as_json
from flows.show.numbers import MISSING, visible
from flows.show.plots import plots, spoken, written
from flows.show.sections import sections
from flows.show.sentences import cautions, headline, progress, taken_back, verdict
from flows.show.summary import CampaignSummary

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = 25
"""Prompts of the answers that are on one page."""


def write_report(summary: CampaignSummary, path: Path) -> None:
    """Render the report to `path`; a reader sees the old page or the new one, never half of it."""
    write_text(path, render_report(summary))


def render_report(summary: CampaignSummary, *, generated_at: str = "") -> str:
    """The page. Equal summaries give equal pages; `generated_at` is shown if given."""
    environment = _environment()
    drawn = plots(summary)
    scripts = {
        "vega": _vega(),
        "code": _read("report.js"),
    }
    return environment.get_template("report.html.j2").render(
        title=visible(summary.name),
        state=summary.state,
        progress=progress(summary),
        headline=headline(summary),
        taken_back=taken_back(summary),
        directory=visible(summary.directory),
        generated_at=generated_at,
        rounds=[(row, verdict(row), cautions(summary, row)) for row in summary.rounds],
        sections=sections(summary),
        columns=all_columns(summary),
        plots=drawn,
        plots_json=embedded([asdict(plot) | {"spoken": spoken(plot)} for plot in drawn]),
        policies=policies(summary),
        prompts=prompts(summary),
        page=PAGE,
        config=visible(summary.config_yaml),
        css=_trusted(_read("report.css")),
        scripts={name: _trusted(text) for name, text in scripts.items()},
        hashes=" ".join(_csp_hash(text) for text in scripts.values()),
    )


def all_columns(summary: CampaignSummary) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Every column of metrics.parquet: name, meaning, one value per round."""
    rows = as_json(summary)["rounds"]
    meanings = {column.name: column.meaning for column in COLUMNS}
    names = dict.fromkeys([*meanings, *(name for row in rows for name in row)])
    return tuple(
        (
            visible(name),
            meanings.get(name, "measured by the judge"),
            tuple(_value(row.get(name)) for row in rows),
        )
        for name in names
    )


def _value(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, Mapping):
        return (
            "; ".join(f"{visible(reason)}: {count}" for reason, count in value.items()) or MISSING
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else visible(str(value))


def embedded(data: Any) -> str:
    """JSON that may stand in a <script> element, whatever text is in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return _trusted(text)


def _environment() -> "Environment":
    from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound

    class Templates(BaseLoader):
        def get_source(
            self, environment: Environment, template: str
        ) -> tuple[str, str | None, Callable[[], bool] | None]:
            if template != "report.html.j2":
                raise TemplateNotFound(template)
            return _read(template), None, None

    made = Environment(
        loader=Templates(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["unbroken"] = lambda text: text.replace(" %", "\u00a0%")
    made.filters["breakable"] = _breakable
    made.filters["form"] = written
    return made


def _breakable(text: str) -> str:
    """Escaped text that may wrap inside long words: browsers take seconds over 100 kB of one."""
    from markupsafe import Markup

    parts = re.sub(r"\S{100}(?=\S{100})", lambda found: found.group() + "\0", text).split("\0")
    return Markup("<wbr>").join(parts)


@cache
def _read(name: str) -> str:
    return files("flows.show").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; takes about a second to make."""
    from vl_convert import javascript_bundle

    return javascript_bundle(snippet="window.vegaEmbed = vegaEmbed;")


def _csp_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _trusted(text: str) -> str:
    from markupsafe import Markup

    return Markup(text)
