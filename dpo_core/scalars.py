"""Numbers over steps as TensorBoard event files. Loads no model library.

Event files are a view of what parquet files and the ledger hold. They carry wall times, so they lie
outside the artifacts, and running a step again replaces them.
"""

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

_FLUSH_SECONDS = 5

R = TypeVar("R", bound=Mapping[str, object])


def record_scalars(rows: Iterable[R], folder: Path | None, index: str, group: str) -> Iterator[R]:
    """Yield the rows, and write their numbers as events named `group/name`.

    index: the column that holds the step. folder: emptied first; None writes nothing.
    """
    if folder is None:
        yield from rows
        return
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    shutil.rmtree(folder, ignore_errors=True)
    with closing(EventFileWriter(str(folder), flush_secs=_FLUSH_SECONDS)) as writer:
        for row in rows:
            step = row[index]
            assert isinstance(step, int), f"{index} holds the step"
            writer.add_event(_event(step, numbers(row, index, group)))
            yield row


def _event(step: int, values: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    return Event(wall_time=time.time(), step=step, summary=Summary(value=scalars))


def numbers(row: Mapping[str, object], index: str, group: str) -> dict[str, float]:
    """The numbers of a row as `group/name` → value, without the column `index`."""
    return {
        f"{group}/{name}": float(value)
        for name, value in row.items()
        if name != index and isinstance(value, int | float)
    }
