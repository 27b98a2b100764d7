"""What a killed round goes on from: weights, AdamW's state and all that was found out before.

One folder, `step-<optimiser steps done>`, in the checkpoints folder of the round: tensors as
torch.distributed.checkpoint writes them, which any number of processes may read, the rest as JSON
and parquet. It is written beside, flushed and renamed; then older ones are removed.
"""

import errno
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from dpo_core.training.objective import ReferenceLogps
from dpo_core.training.pairs.logps_by_pair import LogpsByPair
from dpo_core.training.processes.team import Team

_PREFIX = "step-"
_UNFINISHED = ".unfinished"
_TENSORS, _PROGRESS, _REFERENCE = "tensors", "progress.json", "reference.parquet"
_SIDES = ("chosen", "rejected", "plain_chosen", "plain_rejected")
_REFERENCE_SCHEMA = pa.schema([("pair_id", pa.string()), *((s, pa.float64()) for s in _SIDES)])

# Frozen weights are those of the policy that the round starts from.
_OPTIONS = StateDictOptions(ignore_frozen_params=True, strict=False)


@dataclass(frozen=True)
class Progress:
    """How far a round is, besides its weights.

    round_id: what the round depends on. steps: optimiser steps done. told: state of its Telling.
    found: facts of how it started. reference, plain_sums: log-probs under the reference, as the
    loss sums them and plain; empty for a loss that compares with none.
    """

    round_id: str
    steps: int
    told: dict[str, Any]
    found: dict[str, Any]
    reference: ReferenceLogps
    plain_sums: ReferenceLogps


def find_latest(checkpoints: Path | None, round_id: str) -> Path | None:
    """The newest finished checkpoint, or None. Raises BadInput for one of another round."""
    found = sorted(checkpoints.glob(f"{_PREFIX}*")) if checkpoints is not None else []
    if not found:
        return None
    if _json(found[-1])["round_id"] != round_id:
        raise BadInput(
            f"{found[-1]} is a checkpoint of another round: its policy, preferences or config "
            "differ from what is to be trained now",
            f"Remove it: rm -r {checkpoints}",
        )
    return found[-1]


def read_progress(checkpoint: Path) -> Progress:
    """What `write` kept besides the tensors."""
    path = checkpoint / _REFERENCE
    reference, plain_sums = (
        LogpsByPair(row["pair_id"] for row in iterate_rows(path, ["pair_id"])) for _ in range(2)
    )
    for row in iterate_rows(path):
        chosen, rejected, *plain = (row[side] for side in _SIDES)
        reference.update({row["pair_id"]: (chosen, rejected)})
        plain_sums.update({row["pair_id"]: (plain[0], plain[1])})
    return Progress(**_json(checkpoint), reference=reference, plain_sums=plain_sums)


def read_tensors(checkpoint: Path, model: Any, optimiser: torch.optim.Optimizer) -> None:
    """Give model and optimiser the state they had, bit by bit."""
    weights, moments = get_state_dict(model, optimiser, options=_OPTIONS)
    state = {"model": weights, "optimiser": moments}
    # Weights that never had a gradient have no moments on disk, and need none.
    planner = DefaultLoadPlanner(allow_partial_load=True)
    with _as_we_mean_it(checkpoint.parent):
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
    """Replace the checkpoints of the round by one of now; called together."""
    beside = checkpoints / _UNFINISHED
    if team.leads:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
    team.gather(None)  # the folder is there
    try:
        weights, moments = get_state_dict(model, optimiser, options=_OPTIONS)
        with _as_we_mean_it(checkpoints):
            state = {"model": weights, "optimiser": moments}
            state_dict_saver.save(state, checkpoint_id=beside / _TENSORS)
        if team.leads:
            _write_progress(beside, progress)
            _replace_all(checkpoints, beside, f"{_PREFIX}{progress.steps:08d}")
    finally:
        if team.leads:
            shutil.rmtree(beside, ignore_errors=True)
    team.gather(None)  # nobody goes on, or ends, before it counts


def _replace_all(checkpoints: Path, beside: Path, name: str) -> None:
    """Make `beside` the checkpoint of this name, and the only one."""
    flush_tree(beside)
    os.rename(beside, checkpoints / name)
    flush(checkpoints)
    for other in checkpoints.iterdir():
        if other.name != name:
            shutil.rmtree(other)


def _write_progress(folder: Path, progress: Progress) -> None:
    names = ("round_id", "steps", "told", "found")
    write_json(folder / _PROGRESS, {name: getattr(progress, name) for name in names})
    write_rows(folder / _REFERENCE, _reference_rows(progress), _REFERENCE_SCHEMA)


def _reference_rows(progress: Progress) -> Iterator[dict[str, Any]]:
    for pair_id, logps in progress.reference.items():
        values = (*logps, *progress.plain_sums[pair_id])
        yield {"pair_id": pair_id, **dict(zip(_SIDES, values, strict=True))}


def _json(checkpoint: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkpoint / _PROGRESS).read_text(encoding="utf-8"))
    return found


@contextmanager
def _as_we_mean_it(checkpoints: Path) -> Iterator[None]:
    """torch warns where one process saves or loads, and raises what is no Exception."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        # A full disk breaks torch's own cleaning up, whose error then stands before the first one.
        causes = [cause for cause in (first, first.__context__) if cause is not None]
        full = any(map(is_out_of_space, causes)) or free_bytes(checkpoints) < FULL_BYTES
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise ChildFailed(f"a checkpoint in {checkpoints} failed: {first}") from error
