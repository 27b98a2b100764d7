"""A job cut into shards: each is carried out by itself and kept through kills, then all are joined.

The shards of a job do not depend on how many workers there are, so its output does not either.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Generic, TypeVar

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from dpo_core.atomic import write_text
from dpo_core.campaign.layout import SHARDS
from dpo_core.children import Report
from dpo_core.hashing import content_id
from dpo_core.seen_files import cached_sha256
from dpo_core.step_facts import EngineSpeed
from dpo_core.tables import concatenate, count_rows
from flows.compute.pool import WorkerPool
from generation.jobs import EngineResult, RowsJob, SampleResult

Done = TypeVar("Done", bound=EngineResult)

_STEERS_NO_SHARD = {"keep_worker", "gpu_memory_utilization", "tensor_parallel_size"}


class _ShardRecord(BaseModel):
    """Written beside a shard once its file is whole: who made it on which machine, how often it was
    begun, and the result."""

    model_config = ConfigDict(frozen=True)

    worker: int
    node: str = ""
    attempts: int = 1
    result: dict[str, Any]


@dataclass(frozen=True)
class ShardedJob(Generic[Done]):
    """The shards of a job, in the order of its rows. rows: of the whole job."""

    job: RowsJob[Done]
    rows: int
    shards: Sequence[RowsJob[Done]]

    @classmethod
    def of(cls, job: RowsJob[Done]) -> "ShardedJob[Done]":
        """Cut `job`; shards lie beside its output, by what they depend on."""
        rows, size = count_rows(job.source), job.shard_rows
        folder = job.out.parent / SHARDS / _identity(job)
        folder.mkdir(parents=True, exist_ok=True)
        shards = [
            job.model_copy(
                update={
                    "out": folder / f"{number:05d}.parquet",
                    "first": first,
                    "count": min(size, rows - first) or None,
                }
            )
            for number, first in enumerate(range(0, max(1, rows), size))
        ]
        return cls(job, rows, shards)

    def missing(self) -> list[int]:
        """Numbers of the shards that are not finished."""
        return [n for n, shard in enumerate(self.shards) if not _record(shard.out).exists()]

    def attempt(self, number: int) -> RowsJob[Done]:
        """A shard as a worker carries it out, into a file of that attempt alone: whoever was taken
        for lost and writes later changes nothing that counts."""
        shard = self.shards[number]
        out = shard.out.with_name(f"{shard.out.stem}.{token_hex(4)}{shard.out.suffix}")
        return shard.model_copy(update={"out": out})

    def publish(self, number: int, begun: Sequence[Path], record: _ShardRecord) -> None:
        """Make the file of the last attempt that of the shard, and note that it is whole."""
        out = self.shards[number].out
        os.replace(begun[-1], out)
        write_text(_record(out), record.model_dump_json())
        for left in begun[:-1]:
            left.unlink(missing_ok=True)

    def join(self) -> Done:
        """Write the job's output from its shards, remove them, and sum up their results."""
        paths = [shard.out for shard in self.shards]
        concatenate(paths, self.job.out, pq.read_schema(paths[0]))
        records = [_ShardRecord.model_validate_json(_record(p).read_bytes()) for p in paths]
        results = [(r.worker, self.job.read_result(r.result)) for r in records]
        shutil.rmtree(paths[0].parent, ignore_errors=True)  # a lost worker may still write there
        summed = _sum_up(results)
        nodes = sorted({record.node for record in records} - {""})
        if not nodes:
            return summed
        attempts = sum(record.attempts for record in records)
        workers = len({record.worker for record in records})
        spread = {"workers": workers, "nodes": tuple(nodes), "attempts": attempts}
        return summed.model_copy(update=spread)


def carry_out_in_shards(
    job: RowsJob[Done], pool: WorkerPool, root: Path, workers: int, report: Report
) -> Done:
    """Carry out a job by so many workers, each one shard at a time; finished shards are kept.

    root: folder that the campaign's files lie in. Raises: as `Child.ask`.
    """
    sharded = ShardedJob.of(job)
    missing = sharded.missing()
    progress = _ShardProgress(sharded, report)
    begun: dict[int, list[Path]] = defaultdict(list)

    def attempt(at: int) -> RowsJob[Done]:
        shard = sharded.attempt(missing[at])
        begun[at].append(shard.out)
        return shard

    def finished(at: int, worker: int, result: Done) -> None:
        record = _ShardRecord(
            worker=worker,
            node=pool.node(worker),
            attempts=len(begun[at]),
            result=result.as_answer(),
        )
        sharded.publish(missing[at], begun[at], record)

    pool.carry_out(
        [sharded.shards[number] for number in missing],
        root,
        workers,
        lambda at, done, unit: progress.advance(missing[at], done, unit),
        finished,
        attempt,
    )
    return sharded.join()


class _ShardProgress:
    """Reports the progress of all shards together."""

    def __init__(self, job: ShardedJob[Any], report: Report) -> None:
        self._units = job.job.units_per_row
        self._rows = [shard.count or 0 for shard in job.shards]
        self._total = job.rows * self._units
        missing = set(job.missing())
        self._done = [0 if n in missing else self._units * r for n, r in enumerate(self._rows)]
        self._sum = sum(self._done)
        self._report = report

    def advance(self, number: int, done: int, unit: str) -> None:
        """Shard `number` has `done` units."""
        self._sum += done - self._done[number]
        self._done[number] = done
        self._report(self._sum, self._total, unit)


def _identity(job: RowsJob[Any]) -> str:
    """What the rows of a job's output depend on."""
    asked = job.model_dump(mode="json", exclude={"source", "out", "first", "count", "policy"})
    config = {k: v for k, v in asked.pop("config").items() if k not in _STEERS_NO_SHARD}
    return content_id(asked, config, job.policy.as_posix(), cached_sha256(job.source))[:16]


def _record(shard: Path) -> Path:
    return shard.with_suffix(".json")


def _sum_up(results: Sequence[tuple[int, Done]]) -> Done:
    """One result of several, each with the number of its worker."""
    parts = [result for _, result in results]
    last = parts[-1]
    workers = sorted({worker for worker, _ in results})
    of_worker = {w: [result for each, result in results if each == w] for w in workers}

    def slowest(name: str) -> float:
        return max(float(sum(getattr(r, name) for r in of_worker[w])) for w in workers)

    update: dict[str, object] = {
        "seconds_start": slowest("seconds_start"),
        "gpus": sum(max(r.gpus or 0 for r in of_worker[w]) for w in workers),
        "versions": {k: v for part in parts for k, v in part.versions.items()},
    }
    counts = set(type(last).model_fields) - {"gpus", "threads", "workers", "attempts"}
    update |= {
        name: sum(getattr(part, name) for part in parts)
        for name in counts
        if isinstance(getattr(last, name), int)
    }
    if isinstance(last, SampleResult):
        update |= {name: slowest(name) for name in ("seconds_engine", "seconds")}
        if len(workers) > 1:
            update["engines"] = tuple(map(_speed, of_worker.values()))
    return last.model_copy(update=update)


def _speed(results: Sequence[EngineResult]) -> EngineSpeed:
    sampled = [result for result in results if isinstance(result, SampleResult)]
    return EngineSpeed(
        tokens=sum(result.tokens for result in sampled),
        seconds=sum(result.seconds_engine for result in sampled),
    )
