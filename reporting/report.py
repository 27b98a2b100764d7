"""The report: one HTML page that works offline, with verdicts, plots, numbers, samples, lineage.

Vega-Lite, inlined into the page, draws the plots (docs/adr/0002-report-plots.md). The page's
content security policy forbids all requests and all scripts but its own, so text from a model can
neither run nor make requests, escaped or not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dpo_core.atomic import write_text
from dpo_core.campaign.identity import VERSION
from dpo_core.campaign.metric_columns import COLUMNS
from dpo_core.text import visible
from reporting import sample_browser
from reporting.as_json import rounds_as_json
from reporting.at_a_glance import at_a_glance
from reporting.lineage import lineage
from reporting.number_formats import MISSING
from reporting.page import (
    csp_hash,
    embed_json,
    mark_safe,
    read_template,
    render_template,
    vega_script,
)
from reporting.plots import plot_groups
from reporting.plots.model import alt_text
from reporting.read.details import StageCount
from reporting.regressions import find_regressions
from reporting.sections import sections
from reporting.sentences import (
    cautions,
    gate_checks,
    gate_reasons,
    headline,
    next_step,
    override_sentences,
    progress,
    verdict,
)
from reporting.summary import CampaignSummary
from reporting.verdicts import TrustVerdict, judge_campaign, judge_round
from reporting.win_rate_chart import draw_win_rates

_CHART = 420, 170
"""Width and height of the first screen's chart, in pixels."""

CELL = 160
"""Most characters of a value that is a mapping or a list."""


def column_table(summary: CampaignSummary) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """(name, meaning, one value per round) of every column of metrics.parquet."""
    rows = rounds_as_json(summary)
    meanings = {column.name: column.meaning for column in COLUMNS}
    names = dict.fromkeys([*meanings, *(name for row in rows for name in row)])
    return tuple(
        (
            visible(name),
            meanings.get(name, "measured by the judge"),
            tuple(format_value(row.get(name)) for row in rows),
        )
        for name in names
    )


def format_value(value: object) -> str:
    """A value of any type as a cell of the column table, truncated if it is long."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and not any(
        isinstance(v, Mapping | list) for v in value.values()
    ):
        text = "; ".join(f"{visible(str(key))}: {inner}" for key, inner in value.items())
        return _cut(text) or MISSING
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        return _cut(visible(json.dumps(value, ensure_ascii=False))) if value else MISSING
    return f"{value:.6g}" if isinstance(value, float) else visible(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= CELL else f"{text[:CELL]}…"


ROUNDS_OPEN = 6
"""Number of last rounds whose verdicts are shown at once; the others are one click away."""


def write_report(summary: CampaignSummary, path: Path) -> None:
    """Write the report to `path` atomically."""
    write_text(path, render_report(summary))


def render_report(summary: CampaignSummary, *, generated_at: str = "") -> str:
    """The page; deterministic. `generated_at` is shown if given."""
    groups = plot_groups(summary)
    drawn = [plot for group in groups for plot in group.plots]
    code = "".join(read_template(f"{name}.js") for name in ("page", "plots", "samples", "begin"))
    scripts = {"vega": vega_script() if drawn else "", "code": code}
    return render_template(
        "report.html.j2",
        title=visible(summary.name),
        state=summary.state,
        trust=judge_campaign(summary) if summary.rounds else None,
        progress=progress(summary),
        headline=headline(summary),
        glance=at_a_glance(summary),
        setup=[(name, visible(value)) for name, value in summary.setup],
        chart=draw_win_rates(summary, *_CHART, pad=14, left=30),
        next_step=next_step(summary),
        regressions=find_regressions(summary),
        overrides=override_sentences(summary),
        directory=visible(summary.directory),
        generated_at=generated_at,
        rounds=_rounds(summary),
        rounds_open=ROUNDS_OPEN,
        sections=sections(summary),
        columns=column_table(summary),
        groups=groups,
        plots_json=embed_json([asdict(plot) | {"spoken": alt_text(plot)} for plot in drawn]),
        samples=sample_browser.pack_samples(summary),
        sample_count=len(summary.samples),
        left_out=summary.samples_left_out,
        static=sample_browser.static_prompts(summary),
        flow=_flow(summary),
        lineage=lineage(summary),
        version=VERSION,
        configs=_configs(summary),
        config=visible(summary.config_yaml),
        css=mark_safe(read_template("report.css")),
        scripts={name: mark_safe(text) for name, text in scripts.items()},
        hashes=" ".join(csp_hash(text) for text in scripts.values()),
    )


@dataclass(frozen=True)
class ShownRound:
    """A round in the list of verdicts; see reporting.sentences."""

    number: int
    trust: TrustVerdict
    verdict: str
    reasons: tuple[str, ...]
    checks: tuple[tuple[str, str, str, str], ...]
    cautions: tuple[str, ...]


def _rounds(summary: CampaignSummary) -> list[ShownRound]:
    """Newest first."""
    return [
        ShownRound(
            row.round,
            judge_round(summary, row),
            verdict(row, summary.settings.confidence),
            gate_reasons(row),
            gate_checks(row),
            cautions(summary, row),
        )
        for row in reversed(summary.rounds)
    ]


def _flow(summary: CampaignSummary) -> list[tuple[int, list[tuple[StageCount, str]]]]:
    """(round, its stages), newest first."""
    counts = summary.details.flow
    numbers = sorted({stage.round for stage in counts}, reverse=True)
    return [
        (n, [(stage, _reasons(stage)) for stage in counts if stage.round == n]) for n in numbers
    ]


def _reasons(stage: StageCount) -> str:
    reasons = "; ".join(f"{visible(reason)}: {n:,}" for reason, n in stage.dropped.items())
    return f"not used: {reasons}" if stage.stay and reasons else reasons


def _configs(summary: CampaignSummary) -> list[tuple[int, str, list[tuple[str, str, str]]]]:
    """(round, file, differences from the round before), newest first."""
    return [
        (
            used.round,
            used.file,
            [(visible(k), visible(a), visible(b)) for k, a, b in used.differences],
        )
        for used in reversed(summary.details.configs)
    ]
