"""The campaign as one HTML page that works offline: numbers, plots, answers side by side, config.

Plots are drawn by Vega-Lite, which is inlined into the page (docs/adr/0002-report-plots.md). The
page's content security policy forbids every request and every script but the three of the page
itself, so text from a model can neither run nor call home, escaped or not.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_core.atomic import write_text
from dpo_core.evaluation.round_metrics import COLUMNS
from flows.summary import Answer, CampaignSummary
from flows.table import (
    MISSING,
    STEPS,
    Row,
    as_json,
    base_number,
    cautions,
    headline,
    measures,
    number,
    progress,
    seconds,
    sections,
    verdict,
    visible,
)

if TYPE_CHECKING:
    from jinja2 import Environment

CLIP = 800
"""Characters of an answer that are shown before "show all"."""
PAGE = 25
PERCENT, DECIMAL, SECONDS = ".0%", ".3~g", ".1f"


@dataclass(frozen=True)
class Point:
    """One value of a plot; `x` is "base" or the number of a round."""

    x: str
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Plot:
    """What report.js draws. `level` is a horizontal line to compare with, `mark` line or bar."""

    title: str
    about: str
    unit: str
    form: str
    series: tuple[Series, ...]
    level: float | None = None
    level_name: str = ""
    mark: str = "line"
    from_zero: bool = False

    def points(self) -> Iterator[tuple[str, Point]]:
        return ((series.name, point) for series in self.series for point in series.points)


@dataclass(frozen=True)
class Cell:
    """One answer, ready to be escaped."""

    policy: str
    start: str
    rest: str
    score: str
    reason: str
    truncated: bool
    missing: bool = False


@dataclass(frozen=True)
class Prompt:
    start: str
    rest: str
    cells: tuple[Cell, ...]


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


# ---- plots ---------------------------------------------------------------------------------------


def plots(summary: CampaignSummary) -> tuple[Plot, ...]:
    """All plots that have something to show."""
    made = [*_better(summary), *_answers(summary), *_training(summary), _time(summary)]
    return tuple(plot for plot in made if plot.series)


def spoken(plot: Plot) -> str:
    """The plot for those who cannot see it."""
    said = (f"{name}, {point.x}: {_written(point.y, plot.form)}" for name, point in plot.points())
    return f"{plot.title}, {plot.unit}. {'; '.join(said)}."


def _better(summary: CampaignSummary) -> Iterator[Plot]:
    yield Plot(
        "Win rate",
        "On held-out test prompts; ties count half. Above 50 % is better.",
        "wins",
        PERCENT,
        _series(
            summary, {"win_rate_base": "against base", "win_rate_previous": "against previous"}
        ),
        0.5,
        "equal",
    )
    yield Plot(
        "Distance travelled",
        "KL divergence, nats per completion. The one from the base adds up over rounds.",
        "KL, nats",
        DECIMAL,
        _series(summary, {"kl_base_nats": "from base", "kl_previous_nats": "from previous"}),
        from_zero=True,
    )


def _answers(summary: CampaignSummary) -> Iterator[Plot]:
    for name in measures(summary):
        about = "Measured by the judge on the test prompts."
        yield _against_base(summary, f"measure_{name}", _title(name), about, "share", PERCENT)
    for name, title, about, unit, form in (
        ("score_mean", "Score", "Mean score of the judge on the test prompts.", "score", DECIMAL),
        (
            "length_mean",
            "Length",
            "Mean length of the answers, EOS included.",
            "tokens",
            DECIMAL,
        ),
        ("truncated_share", "Truncated", "Answers cut at the length limit.", "share", ".1%"),
    ):
        yield _against_base(summary, name, title, about, unit, form)


def _title(name: str) -> str:
    words = visible(name).replace("_", " ")
    return words[:1].upper() + words[1:]


def _against_base(
    summary: CampaignSummary, name: str, title: str, about: str, unit: str, form: str
) -> Plot:
    level = base_number(summary, name)
    found = _series(summary, {name: "policy"})
    if found and level is not None:
        found = (Series("policy", (Point("base", level), *found[0].points)),)
    return Plot(title, about, unit, form, found, level, "base" if level is not None else "")


def _training(summary: CampaignSummary) -> Iterator[Plot]:
    for name, title, about, unit, form in (
        (
            "loss",
            "Loss",
            "Mean over the last epoch, as pairs were trained on.",
            "loss",
            ".3f",
        ),
        ("accuracy", "Reward accuracy", "Share of pairs with a positive margin.", "share", PERCENT),
        ("margin", "Margin", "Chosen minus rejected log-ratio, without β.", "nats", DECIMAL),
    ):
        yield Plot(title, about, unit, form, _series(summary, {name: "policy"}))


def _time(summary: CampaignSummary) -> Plot:
    points: dict[str, list[Point]] = {step: [] for step in (*STEPS, "other")}
    for row in summary.rounds:
        for step, value in seconds(row).items():
            if value is not None:
                points[step].append(Point(_round(row), value))
    series = tuple(Series(step, tuple(found)) for step, found in points.items() if found)
    return Plot("Time", "Seconds per round, by step.", "seconds", SECONDS, series, mark="bar")


def _series(summary: CampaignSummary, names: Mapping[str, str]) -> tuple[Series, ...]:
    found = []
    for column, shown in names.items():
        points = [_point(row, column) for row in summary.rounds]
        known = tuple(point for point in points if point is not None)
        if known:
            found.append(Series(shown, known))
    return tuple(found)


def _point(row: Row, name: str) -> Point | None:
    value = number(row, name)
    low, high = number(row, f"{name}_low"), number(row, f"{name}_high")
    return None if value is None else Point(_round(row), value, low, high)


def _round(row: Row) -> str:
    return str(int(row["round"]))


# ---- tables --------------------------------------------------------------------------------------


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


# ---- answers -------------------------------------------------------------------------------------


def policies(summary: CampaignSummary) -> tuple[str, ...]:
    """Headings of the columns: the base, then each round that answered."""
    return tuple(_policy(round_) for round_ in _answering(summary))


def _answering(summary: CampaignSummary) -> list[int]:
    return sorted({answer.round for row in summary.samples for answer in row.answers})


def _policy(round_: int) -> str:
    return "base" if round_ == 0 else f"round {round_}"


def prompts(summary: CampaignSummary) -> tuple[Prompt, ...]:
    """Rows of answers; a policy that did not answer a prompt leaves an empty cell."""
    order = _answering(summary)
    rows = []
    for row in summary.samples:
        by_round = {answer.round: answer for answer in row.answers}
        cells = tuple(_cell(round_, by_round.get(round_)) for round_ in order)
        rows.append(Prompt(*_clipped(row.prompt), cells))
    return tuple(rows)


def _cell(round_: int, answer: Answer | None) -> Cell:
    if answer is None:
        return Cell(_policy(round_), "", "", "", "", truncated=False, missing=True)
    score = number({"score": answer.score}, "score")
    return Cell(
        _policy(round_),
        *_clipped(answer.text),
        score="" if score is None else f"{score:.3g}",
        reason=visible(answer.reason),
        truncated=answer.finish_reason == "length",
    )


def _clipped(text: str) -> tuple[str, str]:
    shown = visible(text)
    # A rest shorter than the button that would reveal it is not worth hiding.
    return (shown[:CLIP], shown[CLIP:]) if len(shown) > CLIP + 200 else (shown, "")


# ---- the page ------------------------------------------------------------------------------------


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
    made.filters["form"] = _written
    return made


def _breakable(text: str) -> str:
    """Escaped text that may wrap inside long words: browsers take seconds over 100 kB of one."""
    from markupsafe import Markup

    parts = re.sub(r"\S{100}(?=\S{100})", lambda found: found.group() + "\0", text).split("\0")
    return Markup("<wbr>").join(parts)


def _written(value: float | None, form: str) -> str:
    if value is None:
        return MISSING
    return f"{100 * value:.1f} %" if form.endswith("%") else f"{value:.4g}"


@cache
def _read(name: str) -> str:
    return files("flows").joinpath("templates", name).read_text(encoding="utf-8")


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
