"""One process runs a campaign at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpo_core.errors import CampaignLocked
from dpo_core.file_lock import Holder, hold, holder

__all__ = ["holder", "locked"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`. Raises CampaignLocked with the holder's pid and host."""

    def refusal(holder: Holder) -> CampaignLocked:
        return CampaignLocked(
            f"{path.parent} is being run by process {holder['pid']} on {holder['host']}",
            f"Wait for it, watch it with `ratchet status {path.parent}`, "
            "or stop it with Ctrl-C there.",
        )

    with hold(path, refusal):
        yield
