"""Log-probs of completions under a policy, each prompt once for all its completions.

Nothing is trained: weights are in the precision in which the policy samples.
"""

import time
from typing import Any

import torch

from dpo_core.children import Report
from dpo_core.config import TrainingConfig
from dpo_core.schemas import LOGPS
from dpo_core.tables import batched, write_rows
from dpo_core.training.jobs import LogpsJob
from dpo_core.training.pairs.prompt_groups import PromptGroups
from dpo_core.training.passes.choose_path import choose_path, micro_batches
from dpo_core.training.passes.pass_over_pairs import PairPath
from dpo_core.training.passes.token_budget import token_budget
from dpo_core.training.runtime import Runtime, load_weights, prepare

_LOOKED_AT = 256
"""Groups among which those of similar lengths are looked for: their token ids are Python's."""


def write_policy_logps(job: LogpsJob, report: Report) -> dict[str, Any]:
    """Write the log-prob of each completion of a file (schema LOGPS), in the file's order.

    Returns `why_not`, why nothing was written as completions cannot share their prompt, else an
    empty text; and `seconds_load`, until the policy was loaded.
    """
    started = time.monotonic()
    runtime = prepare(job.threads, seed=0, compute_dtype=job.dtype)
    budget = token_budget(TrainingConfig(), runtime, job.policy_dir)
    groups = PromptGroups(job.completions, budget)
    path, why_not = _path(job, groups, runtime)
    seconds_load = time.monotonic() - started
    if not why_not:
        logps = dict.fromkeys(range(len(groups.ids)), 0.0)  # no token: certain
        if path is not None:
            _find(logps, groups, path, budget, report)
        rows = ({"completion_id": i, "logp": logps[row]} for row, i in enumerate(groups.ids))
        write_rows(job.out, rows, LOGPS)
    return {"why_not": why_not, "seconds_load": seconds_load}


def _path(job: LogpsJob, groups: PromptGroups, runtime: Runtime) -> tuple[PairPath | None, str]:
    """(the way through the policy, why it is not the fast one); none where nothing is to be had."""
    if not len(groups):
        return None, ""
    if not groups.all_have_prompts:
        return None, "nothing predicts the first token after a prompt without tokens"
    model = load_weights(job.policy_dir, runtime.device, runtime.compute_dtype)
    return choose_path(model, groups, TrainingConfig(), runtime, frozen=True)


def _find(
    logps: dict[int, float], groups: PromptGroups, path: PairPath, budget: int, report: Report
) -> None:
    """Put the log-probs, nats, at the places of the groups' completions."""
    done = 0
    for some in batched(groups, _LOOKED_AT):
        for batch in micro_batches(some, path, budget):
            lengths = [len(ids) for group in batch for ids in group.completions]
            parts = torch.split(path.logps(batch).logps_N.double(), lengths)
            places = [row for group in batch for row in groups.rows(int(group.id))]
            logps.update(zip(places, torch.stack([p.sum() for p in parts]).tolist(), strict=True))
            done += len(places)
            report(done, len(logps), "completions, log-probs")
