"""A comparison in a terminal."""

from typing import TYPE_CHECKING

from reporting.compare.sentences import differences, headline, not_comparable, shared
from reporting.compare.sides import CampaignComparison
from reporting.compare.tables import tables
from reporting.terminal import FoldedSection

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_comparison(comparison: CampaignComparison) -> "RenderableType":
    """The headline, what keeps it from being believed, and the tables, for `rich.print`."""
    from rich.console import Group
    from rich.text import Text

    said = (*differences(comparison), *shared(comparison))
    return Group(
        Text(headline(comparison), style="bold"),
        *(Text(f"! {warning}", style="yellow") for warning in not_comparable(comparison)),
        *map(Text, said),
        *map(FoldedSection, tables(comparison)),
    )
