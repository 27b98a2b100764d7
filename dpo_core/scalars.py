"""Numbers over steps as TensorBoard's event files. It loads no model library.

Event files are a view of what parquet files and the ledger hold: they carry wall times, so they lie
outside the artifacts, and a step that is made again replaces them.
"""

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

_FLUSH_SECONDS = 5


def record_scalars(
    rows: Iterable[dict[str, Any]], folder: Path | None, index: str, group: str
) -> Iterator[dict[str, Any]]:
    """Pass rows on, and write their numbers as events of the step that column `index` says.

    Each has its name, as `group/name`. What the folder held before is removed.
    """
    if folder is None:
        yield from rows
        return
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    shutil.rmtree(folder, ignore_errors=True)
    with closing(EventFileWriter(str(folder), flush_secs=_FLUSH_SECONDS)) as writer:
        for row in rows:
            writer.add_event(_event(row[index], numbers(row, index, group)))
            yield row


def _event(step: int, values: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    return Event(wall_time=time.time(), step=step, summary=Summary(value=found))


def numbers(row: Mapping[str, Any], index: str, group: str) -> dict[str, float]:
    """The numbers of a row by their names, as `group/name`."""
    return {
        f"{group}/{name}": float(value)
        for name, value in row.items()
        if name != index and isinstance(value, int | float)
    }
