"""Which node of a cluster does what, as the process that runs a campaign keeps it on disk."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from dpo_core.atomic import write_text


class PlacedWorker(BaseModel):
    """A worker by the name of its log, the node that it is on, and the work that it has now."""

    model_config = ConfigDict(frozen=True)

    name: str
    node: str
    doing: str = ""


class WorkersNow(BaseModel):
    """The workers of one run. run: known to it alone, so that a node which reads it sees this very
    folder."""

    model_config = ConfigDict(frozen=True)

    run: str
    workers: tuple[PlacedWorker, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "WorkersNow | None":
        """What the file says; None where there is none."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, path: Path) -> None:
        write_text(path, self.model_dump_json())


def describe_workers(workers: Iterable[PlacedWorker]) -> str:
    """By node what its workers do, in one line.

    Example:
        >>> describe_workers([PlacedWorker(name="sampling", node="a", doing="rows 0 to 63")])
        'a: sampling rows 0 to 63'
    """
    by_node: dict[str, list[str]] = {}
    for worker in workers:
        by_node.setdefault(worker.node, []).append(f"{worker.name} {worker.doing or 'idle'}")
    return "; ".join(f"{node}: {', '.join(by_node[node])}" for node in sorted(by_node))
