"""Where a campaign's report is on the Prefect server that shows the campaign's runs.

`ratchet ui` serves the report of its one campaign. A worker's server serves those of all campaigns
that its folder links to; a Prefect server that is not Ratchet's serves none.
"""

import os
from pathlib import Path

from dpo_core.campaign.layout import Layout
from dpo_core.hashing import content_id

REPORT_PATH = "/ratchet/report.html"
"""Relative to the server: the same address, whatever the port."""

_CAMPAIGNS = "campaigns"
_VARIABLE = "RATCHET_SERVED_REPORTS"


def serve_reports_in(folder: Path) -> None:
    """Say so to the runs that this process starts: the server at hand serves what `folder` links
    to."""
    os.environ[_VARIABLE] = str(folder.resolve())


def report_link(layout: Layout) -> str:
    """The way to the report, in Markdown; under a worker its server is told of the campaign."""
    folder = os.environ.get(_VARIABLE)
    if folder is None:
        return f"[Open the report]({REPORT_PATH}) (served by `ratchet ui`)"
    root = layout.root.resolve()
    id = content_id("campaign", str(root))
    link = Path(folder) / _CAMPAIGNS / id
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(root)
    return f"[Open the report](/ratchet/{_CAMPAIGNS}/{id}/report.html)"


def served(root: Path, path: str) -> Path | None:
    """The file that the server of the folder `root` answers a request with: a report or metrics,
    and nothing else of a campaign."""
    *folders, name = path.strip("/").split("/")
    layout = Layout(root)
    if len(folders) >= 2 and folders[-2] == _CAMPAIGNS and folders[-1].isalnum():
        layout = Layout(root / _CAMPAIGNS / folders[-1])
    found = {p.name: p for p in (layout.report, layout.metrics)}.get(name)
    return found if found is not None and found.exists() else None
