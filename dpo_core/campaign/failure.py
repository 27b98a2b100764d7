"""Why the last run of a campaign failed. Kept in `failure.json` until another run begins."""

import json
from dataclasses import asdict, dataclass

from dpo_core.atomic import write_json
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import now
from dpo_core.errors import RatchetError


@dataclass(frozen=True)
class Failure:
    """An error as a person reads it. remedy: what to do; may be empty. at: ISO 8601, UTC."""

    message: str
    remedy: str
    at: str


def write_failure(layout: Layout, error: Exception) -> None:
    if isinstance(error, RatchetError):
        message, remedy = error.message, error.remedy
    else:
        message, remedy = repr(error), "The traceback is in the run's own output."
    write_json(layout.failure, asdict(Failure(message, remedy, now())))


def read_failure(layout: Layout) -> Failure | None:
    """None if the last run did not fail, or was killed."""
    try:
        return Failure(**json.loads(layout.failure.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def clear_failure(layout: Layout) -> None:
    layout.failure.unlink(missing_ok=True)
