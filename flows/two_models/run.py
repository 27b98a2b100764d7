"""`ratchet evaluate`: in a temporary folder, of which at most what was asked for is kept."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from flows.two_models.asked import Asked
from flows.two_models.compare import compare
from flows.two_models.numbers import numbers
from flows.two_models.out import keep
from flows.two_models.progress import TwoModelsProgress
from labeling.exchange.folder import check_free


def run(asked: Asked, out: Path | None, console: Console) -> dict[str, Any]:
    """The numbers of the comparison. out: a new folder that keeps answers and outcomes."""
    if out is not None:
        check_free(out)
    with TemporaryDirectory(prefix="ratchet-evaluate-") as folder:
        with TwoModelsProgress(console, rounds=2) as progress:
            compared = compare(asked, Path(folder), progress)
        found = numbers(asked, compared)
        if out is not None:
            keep(out, asked, compared, found)
    return found
