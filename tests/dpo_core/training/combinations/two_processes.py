"""One of two gloo processes that compute cases together, driven through dpo_core.children.

Request: {"rank": 0 or 1, "folder": FOLDER}. FOLDER/cases.pkl holds the cases; process 0 leaves
FOLDER/found.pt, what `one_step` says of each.
"""

import logging
import pickle
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from dpo_core.children import Report, serve
from dpo_core.training.processes.sharded import shard
from dpo_core.training.processes.team import Team

from .families import build
from .one_step import one_step

BUDGET = 60
"""Tokens of a micro-batch: the two processes have several, and not equally many."""


def handle(request: dict[str, Any], report: Report) -> dict[str, Any]:
    rank, folder = request["rank"], Path(request["folder"])
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # every fallback to the plain path says so
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    team = Team(rank, 2, 2)
    cases = pickle.loads((folder / "cases.pkl").read_bytes())
    found = {}
    for family, group in groupby(sorted(cases, key=lambda case: case.family), lambda c: c.family):
        model, other = build(family), build(family, seed=1)
        divided = model, shard(model, team, torch.device("cpu"))
        for case in group:
            found[case] = one_step(case, divided, other, path="auto", budget=BUDGET, team=team)
    if team.leads:
        torch.save(found, folder / "found.pt")
    dist.destroy_process_group()
    return {}


if __name__ == "__main__":
    serve(handle)
