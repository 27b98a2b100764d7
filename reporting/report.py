"""The campaign as one HTML page that works offline: verdicts, plots, numbers, samples, lineage.

Plots are drawn by Vega-Lite, which is inlined into the page (docs/adr/0002-report-plots.md). The
page's content security policy forbids every request and every script but those of the page itself,
so text from a model can neither run nor call home, escaped or not.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_text
from dpo_core.text import visible
from reporting import browser
from reporting.at_a_glance import at_a_glance
from reporting.columns import all_columns
from reporting.lineage import lineage
from reporting.page import csp_hash, embedded, read, rendered, trusted, vega
from reporting.plots import plot_groups, spoken
from reporting.read.flow import StageCount
from reporting.sections import sections
from reporting.sentences import (
    cautions,
    gate_checks,
    gate_reasons,
    headline,
    progress,
    taken_back,
    verdict,
)
from reporting.summary import CampaignSummary

ROUNDS_OPEN = 6
"""Verdicts of the last rounds that are shown at once; those of earlier ones are one click away."""


def write_report(summary: CampaignSummary, path: Path) -> None:
    """Render the report to `path`; a reader sees the old page or the new one, never half of it."""
    write_text(path, render_report(summary))


def render_report(summary: CampaignSummary, *, generated_at: str = "") -> str:
    """The page. Equal summaries give equal pages; `generated_at` is shown if given."""
    groups = plot_groups(summary)
    drawn = [plot for group in groups for plot in group.plots]
    code = "".join(read(f"{name}.js") for name in ("page", "plots", "samples", "begin"))
    scripts = {"vega": vega() if drawn else "", "code": code}
    return rendered(
        "report.html.j2",
        title=visible(summary.name),
        state=summary.state,
        progress=progress(summary),
        headline=headline(summary),
        glance=at_a_glance(summary),
        taken_back=taken_back(summary),
        directory=visible(summary.directory),
        generated_at=generated_at,
        rounds=_rounds(summary),
        rounds_open=ROUNDS_OPEN,
        sections=sections(summary),
        columns=all_columns(summary),
        groups=groups,
        plots_json=embedded([asdict(plot) | {"spoken": spoken(plot)} for plot in drawn]),
        samples=browser.packed(summary),
        sample_count=len(summary.samples),
        left_out=summary.samples_left_out,
        static=browser.static(summary),
        flow=_flow(summary),
        lineage=lineage(summary),
        configs=_configs(summary),
        config=visible(summary.config_yaml),
        css=trusted(read("report.css")),
        scripts={name: trusted(text) for name, text in scripts.items()},
        hashes=" ".join(csp_hash(text) for text in scripts.values()),
    )


def _rounds(summary: CampaignSummary) -> list[dict[str, Any]]:
    """Newest first."""
    return [
        {
            "number": row["round"],
            "promoted": bool(row.get("promoted")),
            "verdict": verdict(row),
            "reasons": gate_reasons(row),
            "checks": gate_checks(row),
            "cautions": cautions(summary, row),
        }
        for row in reversed(summary.rounds)
    ]


def _flow(summary: CampaignSummary) -> list[tuple[int, list[tuple[StageCount, str]]]]:
    """(round, its stages), newest first."""
    counts = summary.details.flow
    numbers = sorted({one.round for one in counts}, reverse=True)
    return [(n, [(one, _reasons(one)) for one in counts if one.round == n]) for n in numbers]


def _reasons(one: StageCount) -> str:
    said = "; ".join(f"{visible(reason)}: {count:,}" for reason, count in one.dropped.items())
    return f"not taken: {said}" if one.stay and said else said


def _configs(summary: CampaignSummary) -> list[tuple[int, str, list[tuple[str, str, str]]]]:
    """(round, file, what differs from the round before), newest first."""
    return [
        (one.round, one.file, [(visible(k), visible(a), visible(b)) for k, a, b in one.differences])
        for one in reversed(summary.details.configs)
    ]
