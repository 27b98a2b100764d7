"""`ratchet evaluate`: in a temporary folder, of which at most what was asked for is kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from rich.console import Console

from dpo_core.errors import BadInput, RatchetError
from flows.operations.evaluate_models.asked import Asked
from flows.operations.evaluate_models.compare import compare, with_folders
from flows.operations.evaluate_models.numbers import numbers
from flows.operations.evaluate_models.out import keep
from flows.operations.evaluate_models.progress import TwoModelsProgress
from labeling.exchange.folder import check_free


def run(asked: Asked, out: Path | None, console: Console) -> dict[str, Any]:
    """The numbers of the comparison. out: a new folder that keeps answers and outcomes."""
    if out is not None:
        check_free(out)
    with _folder() as folder:
        with TwoModelsProgress(console, rounds=2) as progress:
            asked = with_folders(asked, folder, progress)
            compared = compare(asked, folder, progress)
        found = numbers(asked, compared)
        if out is not None:
            keep(out, asked, compared, found)
    return found


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary one, left where it is when a process failed: its log lies there."""
    folder = Path(mkdtemp(prefix="ratchet-evaluate-"))
    failed = False
    try:
        yield folder
    except RatchetError as error:
        failed = not isinstance(error, BadInput)
        raise
    finally:
        if not failed:
            rmtree(folder, ignore_errors=True)
