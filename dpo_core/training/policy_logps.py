"""Log-probs of completions under a policy, with each prompt computed once for all its completions.

Nothing is trained: weights have the precision in which the policy samples.
"""

import time

import torch

from dpo_core.children import Report
from dpo_core.config import TrainingConfig
from dpo_core.schemas import LOGPS
from dpo_core.tables import batched, write_rows
from dpo_core.training.jobs import LogpsJob
from dpo_core.training.pairs.prompt_groups import PromptGroups
from dpo_core.training.passes.choose_path import choose_path, micro_batches
from dpo_core.training.passes.pass_over_pairs import PairPath
from dpo_core.training.passes.side_by_side import side_by_side
from dpo_core.training.passes.token_budget import token_budget
from dpo_core.training.results import LogpsResult
from dpo_core.training.runtime import Runtime, load_weights, prepare

_SORTED_AT_ONCE = 256
"""Groups sorted by length at a time: their token ids are Python objects, which take memory."""


def write_policy_logps(job: LogpsJob, report: Report) -> LogpsResult:
    """Write the log-prob of each completion of a file (schema LOGPS), in the file's order; nothing
    where completions cannot share their prompt."""
    started = time.monotonic()
    runtime = prepare(job.threads, seed=0, compute_dtype=job.dtype)
    budget = token_budget(TrainingConfig(), runtime, job.policy_dir)
    groups = PromptGroups(job.completions, budget)
    path, why_not = _path(job, groups, runtime)
    seconds_load = time.monotonic() - started
    if not why_not:
        logps = dict.fromkeys(range(len(groups.ids)), 0.0)  # of no tokens: log 1
        if path is not None:
            _compute_logps(logps, groups, path, budget, report)
        rows = ({"completion_id": i, "logp": logps[row]} for row, i in enumerate(groups.ids))
        write_rows(job.out, rows, LOGPS)
    return LogpsResult(why_not=why_not, seconds_load=seconds_load)


def _path(job: LogpsJob, groups: PromptGroups, runtime: Runtime) -> tuple[PairPath | None, str]:
    """(the path through the policy, why it is not the fast one); None without completions."""
    if not len(groups):
        return None, ""
    if not groups.all_have_prompts:
        return None, "a prompt without tokens does not predict the first token of its completions"
    model = load_weights(job.policy_dir, runtime.device, runtime.compute_dtype)
    return choose_path(model, groups, TrainingConfig(), runtime, frozen=True)


def _compute_logps(
    logps: dict[int, float], groups: PromptGroups, path: PairPath, budget: int, report: Report
) -> None:
    """Fill `logps` with row → log-prob in nats."""
    done = 0
    with side_by_side(path) as compute:
        for part in batched(groups, _SORTED_AT_ONCE):
            batches = list(micro_batches(part, path, budget))
            for batch, tokens in zip(batches, compute(batches), strict=True):
                lengths = [len(ids) for group in batch for ids in group.completions]
                by_completion = torch.split(tokens.logps_N.double(), lengths)
                rows = [row for group in batch for row in groups.rows(int(group.id))]
                sums = torch.stack([logps_L.sum() for logps_L in by_completion]).tolist()
                logps.update(zip(rows, sums, strict=True))
                done += len(rows)
                report(done, len(logps), "completions, log-probs")
