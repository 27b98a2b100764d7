"""Numbers over steps as TensorBoard's event files. It loads no model library.

Event files are a view of what parquet files and the ledger hold: they carry wall times, so they lie
outside the artifacts, and a step that is made again replaces them.
"""

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

_FLUSH_SECONDS = 5


class Scalars:
    """Writes one folder of events; a context manager. What the folder held before is removed."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = EventFileWriter(str(folder), flush_secs=_FLUSH_SECONDS)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write each value under its name, as `group/name`."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._writer.add_event(
            Event(wall_time=time.time(), step=step, summary=Summary(value=found))
        )

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()


def showing(
    rows: Iterable[dict[str, Any]], folder: Path | None, index: str, group: str
) -> Iterator[dict[str, Any]]:
    """Pass rows on, and write their numbers as events of the step that column `index` says."""
    if folder is None:
        yield from rows
        return
    with Scalars(folder) as scalars:
        for row in rows:
            scalars.add(row[index], _numbers(row, index, group))
            yield row


def _numbers(row: Mapping[str, Any], index: str, group: str) -> dict[str, float]:
    return {
        f"{group}/{name}": float(value)
        for name, value in row.items()
        if name != index and isinstance(value, int | float)
    }
