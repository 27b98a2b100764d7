"""A comparison as one HTML page that works offline, made as the report is (reporting.report)."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_text
from reporting.compare.plots import plot_groups
from reporting.compare.sentences import differences, headline, not_comparable, shared
from reporting.compare.sides import CampaignComparison, Side, clipped
from reporting.compare.tables import tables
from reporting.page import csp_hash, embedded, read, rendered, trusted, vega
from reporting.plots.model import spoken
from reporting.sentences import headline as stands


def write_page(comparison: CampaignComparison, path: Path) -> None:
    """Render to `path`; a reader sees the old page or the new one, never half of it."""
    write_text(path, render_page(comparison))


def render_page(comparison: CampaignComparison) -> str:
    """The page. Equal campaigns give equal pages."""
    groups = plot_groups(comparison)
    drawn = [plot for group in groups for plot in group.plots]
    scripts = {
        "vega": vega() if drawn else "",
        "code": "".join(read(f"{name}.js") for name in ("page", "plots", "compare")),
    }
    return rendered(
        "compare.html.j2",
        title=" · ".join(side.label for side in comparison.sides),
        headline=headline(comparison),
        warnings=not_comparable(comparison),
        said=(*differences(comparison), *shared(comparison)),
        sides=[_side(side) for side in comparison.sides],
        groups=groups,
        plots_json=embedded([asdict(plot) | {"spoken": spoken(plot)} for plot in drawn]),
        sections=tables(comparison),
        css=trusted(read("report.css")),
        scripts={name: trusted(text) for name, text in scripts.items()},
        hashes=" ".join(csp_hash(text) for text in scripts.values()),
    )


def _side(side: Side) -> Mapping[str, Any]:
    return {
        "label": side.label,
        "state": side.summary.state,
        "headline": stands(side.summary),
        "directory": clipped(side.summary.directory),
    }
