"""Checkpoints of a round: weights, AdamW's state, and everything computed before the first step.

A checkpoint is a folder `step-<optimiser steps done>`: tensors in the format of
torch.distributed.checkpoint, which any number of processes can read, the rest as JSON and parquet.
It is written under another name, flushed and renamed; then older ones are removed.
"""

import errno
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import torch
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)

from dpo_core.atomic import flush, flush_tree, write_json
from dpo_core.errors import BadInput, ChildFailed
from dpo_core.full_disk import FULL_BYTES, free_bytes, is_out_of_space
from dpo_core.tables import iterate_rows, write_rows
from dpo_core.training.metrics.curve_recorder import RecordedCurve
from dpo_core.training.objective import ReferenceLogps
from dpo_core.training.pairs.logps_by_pair import LogpsByPair
from dpo_core.training.processes.team import Team
from dpo_core.training.results import RoundStartFacts

_PREFIX = "step-"
_UNFINISHED = ".unfinished"
_TENSORS, _PROGRESS, _REFERENCE = "tensors", "progress.json", "reference.parquet"
_SIDES = ("chosen", "rejected", "plain_chosen", "plain_rejected")
_REFERENCE_SCHEMA = pa.schema([("pair_id", pa.string()), *((s, pa.float64()) for s in _SIDES)])

# Frozen weights are those of the round's starting policy.
_OPTIONS = StateDictOptions(ignore_frozen_params=True, strict=False)


@dataclass(frozen=True)
class Progress:
    """The progress of a round, besides its weights.

    round_id: hash of everything the round depends on. steps: optimiser steps done. reference,
    plain_sums: log-probs under the reference, as the loss sums them and as plain sums; empty for a
    loss without a reference.
    """

    round_id: str
    steps: int
    curve: RecordedCurve
    start: RoundStartFacts
    reference: ReferenceLogps
    plain_sums: ReferenceLogps


def find_latest(checkpoints: Path | None, round_id: str) -> Path | None:
    """The newest complete checkpoint, or None. Raises BadInput for one of another round."""
    saved = sorted(checkpoints.glob(f"{_PREFIX}*")) if checkpoints is not None else []
    if not saved:
        return None
    newest = saved[-1]
    if _read_json(newest)["round_id"] != round_id:
        raise BadInput(
            f"{newest} is a checkpoint of another round: its policy, preferences or config differ "
            "from those of this round",
            f"Remove it: rm -r {checkpoints}",
        )
    return newest


def read_progress(checkpoint: Path) -> Progress:
    """Everything in a checkpoint besides the tensors."""
    path = checkpoint / _REFERENCE
    reference, plain_sums = (
        LogpsByPair(row["pair_id"] for row in iterate_rows(path, ["pair_id"])) for _ in range(2)
    )
    for row in iterate_rows(path):
        chosen, rejected, *plain = (row[side] for side in _SIDES)
        reference.update({row["pair_id"]: (chosen, rejected)})
        plain_sums.update({row["pair_id"]: (plain[0], plain[1])})
    saved = _read_json(checkpoint)
    curve = RecordedCurve(**{key.removeprefix("_"): part for key, part in saved["told"].items()})
    start = RoundStartFacts.read(saved["found"])
    return Progress(saved["round_id"], saved["steps"], curve, start, reference, plain_sums)


def read_tensors(checkpoint: Path, model: Any, optimiser: torch.optim.Optimizer) -> None:
    """Restore the state of model and optimiser, bit for bit."""
    weights, moments = get_state_dict(model, optimiser, options=_OPTIONS)
    state = {"model": weights, "optimiser": moments}
    # Weights that never had a gradient have no moments on disk and need none.
    planner = DefaultLoadPlanner(allow_partial_load=True)
    with _translate_errors(checkpoint.parent):
        state_dict_loader.load(state, checkpoint_id=checkpoint / _TENSORS, planner=planner)
    set_state_dict(
        model, optimiser, model_state_dict=weights, optim_state_dict=moments, options=_OPTIONS
    )


def save_checkpoint(
    checkpoints: Path,
    progress: Progress,
    model: Any,
    optimiser: torch.optim.Optimizer,
    team: Team,
) -> None:
    """Write a checkpoint and remove older ones. A collective call."""
    unfinished = checkpoints / _UNFINISHED
    if team.leads:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    team.gather(None)  # wait until the folder exists
    try:
        weights, moments = get_state_dict(model, optimiser, options=_OPTIONS)
        with _translate_errors(checkpoints):
            state = {"model": weights, "optimiser": moments}
            state_dict_saver.save(state, checkpoint_id=unfinished / _TENSORS)
        if team.leads:
            _write_progress(unfinished, progress)
            _replace_all(checkpoints, unfinished, f"{_PREFIX}{progress.steps:08d}")
    finally:
        if team.leads:
            shutil.rmtree(unfinished, ignore_errors=True)
    team.gather(None)  # wait until the checkpoint is complete


def _replace_all(checkpoints: Path, unfinished: Path, name: str) -> None:
    """Rename `unfinished` to this checkpoint, and remove all others."""
    flush_tree(unfinished)
    os.rename(unfinished, checkpoints / name)
    flush(checkpoints)
    for other in checkpoints.iterdir():
        if other.name != name:
            shutil.rmtree(other)


def _write_progress(folder: Path, progress: Progress) -> None:
    content: _Saved = {
        "round_id": progress.round_id,
        "steps": progress.steps,
        "told": {f"_{name}": part for name, part in vars(progress.curve).items()},
        "found": progress.start.as_json(),
    }
    write_json(folder / _PROGRESS, content)
    write_rows(folder / _REFERENCE, _reference_rows(progress), _REFERENCE_SCHEMA)


def _reference_rows(progress: Progress) -> Iterator[Mapping[str, object]]:
    for pair_id, logps in progress.reference.items():
        values = (*logps, *progress.plain_sums[pair_id])
        yield {"pair_id": pair_id, **dict(zip(_SIDES, values, strict=True))}


class _Saved(TypedDict):
    """progress.json. told: the curve so far, its names with an underscore; found: the start."""

    round_id: str
    steps: int
    told: dict[str, Any]
    found: dict[str, object]


def _read_json(checkpoint: Path) -> _Saved:
    saved: _Saved = json.loads((checkpoint / _PROGRESS).read_text(encoding="utf-8"))
    return saved


@contextmanager
def _translate_errors(checkpoints: Path) -> Iterator[None]:
    """Silence torch's warning about a single process, and turn its BaseExceptions into errors."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        # A full disk also breaks torch's cleanup, whose error then hides the first one.
        causes = [cause for cause in (first, first.__context__) if cause is not None]
        full = any(map(is_out_of_space, causes)) or free_bytes(checkpoints) < FULL_BYTES
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise ChildFailed(f"a checkpoint in {checkpoints} failed: {first}") from error
