"""Log-probs of a round's pairs under its reference, computed once, before the first step.

Only one model is in memory: a reference other than the policy is loaded, used and released before
the policy is loaded.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

import torch

from dpo_core.config import TrainingConfig
from dpo_core.preference.pair_logps import PairLogps
from dpo_core.training.objective import ReferenceLogps, completion_sums
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.pairs.logps_by_pair import LogpsByPair
from dpo_core.training.policy_in_training import load_frozen
from dpo_core.training.reference.cache import ReferenceCache
from dpo_core.training.round import Round, RoundSetting

CHECKED_PAIRS = 32
"""Number of pairs whose log-probs are recomputed to check the sampler's."""

_PLAIN = TrainingConfig()


@dataclass(frozen=True)
class Reference:
    """Log-probs of a round's pairs under its reference.

    counted: as the loss sums them. plain: plain sums. source: where they come from.
    """

    counted: ReferenceLogps
    plain: ReferenceLogps
    source: Literal["pass", "cache", "sampling"]


def compute_other_reference(setting: RoundSetting, cache: ReferenceCache) -> Reference:
    """The reference with the weights of `reference_dir`, which are in memory only in this call."""
    cached = _read_cached(setting, cache)
    if cached is not None:
        return cached
    assert setting.job.reference_dir is not None, "another reference has a folder"
    model, enter = load_frozen(setting.job.reference_dir, setting.runtime, setting.team)
    round, _ = setting.round(model, enter)
    reference = _run_pass(round, setting.pairs, cache)
    del round, model, enter
    gc.collect()  # a model may be part of reference cycles
    if setting.runtime.device.type == "cuda":
        torch.cuda.empty_cache()
    return reference


def compute_own_reference(setting: RoundSetting, round: Round, cache: ReferenceCache) -> Reference:
    """The reference with the current weights of the round's model."""
    return _read_cached(setting, cache) or _run_pass(round, setting.pairs, cache)


def reference_pass(
    round: Round, pairs: Sequence[TrainingPair]
) -> tuple[ReferenceLogps, ReferenceLogps]:
    """Log-probs under the round's model: (as the loss sums them, plain sums).

    Batches are those of the first epoch, so rounding is the same there. Where the model is the
    policy before its first step, the first margins are then exactly 0.
    """
    counted = plain = LogpsByPair(pair.pair_id for pair in pairs)
    if round.config.ld_alpha is not None:
        plain = LogpsByPair(pair.pair_id for pair in pairs)
    for step in round.steps_of_epoch(pairs, epoch=0):
        for batch in round.micro_batches(step):
            tokens = round.path.logps(batch)
            counted.update(_sums(batch, completion_sums(batch, tokens, round.config)))
            if plain is not counted:
                plain.update(_sums(batch, completion_sums(batch, tokens, _PLAIN)))
            done = min(len(counted) * round.team.size, len(pairs))
            round.report(done, len(pairs), "pairs, reference pass")
        for batch in round.idle_batches(step):
            round.path.logps(batch)
    return _gather_logps(round, counted), _gather_logps(round, plain)


def recompute_some_logps(
    round: Round, pairs: Sequence[TrainingPair]
) -> tuple[list[TrainingPair], ReferenceLogps]:
    """(the first CHECKED_PAIRS pairs of the first epoch for which the sampler returned log-probs,
    their plain sums under the model)."""
    in_order = chain.from_iterable(round.steps_of_epoch(pairs, epoch=0))
    with_logps = (pair for pair in in_order if pair.sampled_logps != (None, None))
    some = list(islice(with_logps, CHECKED_PAIRS))
    sums = LogpsByPair(pair.pair_id for pair in some)
    if not some:  # in all processes of the team alike: they see the same pairs
        return some, sums
    for batch in round.micro_batches(some):
        sums.update(_sums(batch, completion_sums(batch, round.path.logps(batch), _PLAIN)))
    for batch in round.idle_batches(some):
        round.path.logps(batch)
    return some, _gather_logps(round, sums)


def _read_cached(setting: RoundSetting, cache: ReferenceCache) -> Reference | None:
    """The leader's cached log-probs for all processes, whatever their own disks hold."""
    ld_alpha = setting.job.config.ld_alpha
    mine = (cache.read(ld_alpha), cache.read(None)) if setting.team.leads else (None, None)
    counted, plain = setting.team.gather(mine)[0]
    return None if counted is None or plain is None else Reference(counted, plain, "cache")


def _run_pass(round: Round, pairs: Sequence[TrainingPair], cache: ReferenceCache) -> Reference:
    counted, plain = reference_pass(round, pairs)
    if round.team.leads:
        for ld_alpha, logps in {None: plain, round.config.ld_alpha: counted}.items():
            cache.write(logps, ld_alpha)
    return Reference(counted, plain, "pass")


def _gather_logps(round: Round, mine: LogpsByPair) -> LogpsByPair:
    """The log-probs of all processes of the team."""
    for part in round.team.gather(mine):
        if part is not mine:
            mine.update(part)
    return mine


def _sums(batch: Sequence[TrainingPair], logps: PairLogps) -> dict[str, tuple[float, float]]:
    sums = zip(logps.chosen.tolist(), logps.rejected.tolist(), strict=True)
    return dict(zip([pair.pair_id for pair in batch], sums, strict=True))
