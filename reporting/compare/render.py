"""A comparison as an HTML page that works offline, as JSON, and in a terminal."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.atomic import write_text
from reporting.as_json import as_json as campaign_as_json
from reporting.compare.answers import answers_beside, render_answers
from reporting.compare.plots import plot_groups
from reporting.compare.sentences import differences, headline, not_comparable, shared
from reporting.compare.sides import CampaignComparison, Side, clip
from reporting.compare.tables import settings_table, tables
from reporting.page import (
    csp_hash,
    embed_json,
    mark_safe,
    read_template,
    render_template,
    vega_script,
)
from reporting.plots.model import alt_text
from reporting.sentences import headline as campaign_headline
from reporting.terminal import FoldedSection
from reporting.verdicts import judge_campaign

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_page(comparison: CampaignComparison, path: Path) -> None:
    """Write the page to `path` atomically."""
    write_text(path, render_page(comparison))


def render_page(comparison: CampaignComparison) -> str:
    """The page; deterministic."""
    groups = plot_groups(comparison)
    drawn = [plot for group in groups for plot in group.plots]
    scripts = {
        "vega": vega_script() if drawn else "",
        "code": "".join(read_template(f"{name}.js") for name in ("page", "plots", "compare")),
    }
    return render_template(
        "compare.html.j2",
        title=" · ".join(side.label for side in comparison.sides),
        headline=headline(comparison),
        warnings=not_comparable(comparison),
        sentences=(*differences(comparison), *shared(comparison)),
        sides=[_side_for_page(side) for side in comparison.sides],
        groups=groups,
        plots_json=embed_json([asdict(plot) | {"spoken": alt_text(plot)} for plot in drawn]),
        settings=settings_table(comparison),
        answers=answers_beside(comparison),
        sections=tables(comparison),
        css=mark_safe(read_template("report.css")),
        scripts={name: mark_safe(text) for name, text in scripts.items()},
        hashes=" ".join(csp_hash(text) for text in scripts.values()),
    )


def _side_for_page(side: Side) -> Mapping[str, object]:
    return {
        "trust": judge_campaign(side.summary) if side.summary.rounds else None,
        "label": side.label,
        "state": side.summary.state,
        "headline": campaign_headline(side.summary),
        "directory": clip(side.summary.directory),
    }


def as_json(comparison: CampaignComparison) -> dict[str, object]:
    """What `ratchet compare --json` prints. A missing number is null."""
    labels = [side.label for side in comparison.sides]
    return {
        "version": 1,
        "headline": headline(comparison),
        "comparable": not not_comparable(comparison),
        "warnings": list(not_comparable(comparison)),
        "shared": list(shared(comparison)),
        "differences": [asdict(difference) for difference in comparison.differences],
        "campaigns": [_side_as_json(side) for side in comparison.sides],
        "config": {
            key: dict(zip(labels, values, strict=True))
            for key, values in comparison.settings.items()
        },
    }


def _side_as_json(side: Side) -> dict[str, object]:
    origin = side.origin
    return {
        "label": side.label,
        "goes_on_with": side.incumbent,
        "branch": None
        if origin is None
        else {"of": origin.name, "round": origin.round, "changes": list(origin.changes)},
        "campaign": campaign_as_json(side.summary),
    }


def render_comparison(comparison: CampaignComparison) -> "RenderableType":
    """Headline, warnings and tables, for `rich.print`."""
    from rich.console import Group
    from rich.text import Text

    settings = settings_table(comparison)
    return Group(
        Text(headline(comparison), style="bold"),
        *(Text(f"! {warning}", style="yellow") for warning in not_comparable(comparison)),
        *map(Text, (*differences(comparison), *shared(comparison))),
        *([FoldedSection(settings)] if settings.rows else ()),
        *map(FoldedSection, tables(comparison)),
        *render_answers(comparison),
    )
