"""The log-probs of a round's pairs under its reference, had once, before the first step.

Whichever weights serve, only one model is in memory: another reference than the policy is loaded,
asked and dropped before the policy is loaded.
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
"""Pairs whose log-probs are computed anew to check those that the sampler returned."""

_PLAIN = TrainingConfig()


@dataclass(frozen=True)
class Reference:
    """Log-probs of a round's pairs under its reference.

    counted: as the loss sums them; plain: plain sums. source: where they are from.
    """

    counted: ReferenceLogps
    plain: ReferenceLogps
    source: Literal["pass", "cache", "sampling"]


def compute_other_reference(setting: RoundSetting, cache: ReferenceCache) -> Reference:
    """Under the policy in `reference_dir`, which is in memory only while this runs, if at all."""
    known = _cached(setting, cache)
    if known is not None:
        return known
    assert setting.job.reference_dir is not None, "the policy itself is no other"
    model, enter = load_frozen(setting.job.reference_dir, setting.runtime, setting.team)
    round, _ = setting.round(model, enter)
    made = _by_pass(round, setting.pairs, cache)
    del round, model, enter
    gc.collect()  # a model may hold itself in cycles
    if setting.runtime.device.type == "cuda":
        torch.cuda.empty_cache()
    return made


def compute_own_reference(setting: RoundSetting, round: Round, cache: ReferenceCache) -> Reference:
    """Under the round's model as it is now."""
    return _cached(setting, cache) or _by_pass(round, setting.pairs, cache)


def reference_pass(
    round: Round, pairs: Sequence[TrainingPair]
) -> tuple[ReferenceLogps, ReferenceLogps]:
    """Log-probs under the round's model: (as the loss sums them, plain sums).

    Batches are those of the first epoch, so rounding is the same there and, where the model is the
    policy before its first step, first margins are 0.
    """
    found = plain = LogpsByPair(pair.pair_id for pair in pairs)
    if round.config.ld_alpha is not None:
        plain = LogpsByPair(pair.pair_id for pair in pairs)
    for step in round.steps_of_epoch(pairs, epoch=0):
        for batch in round.micro_batches(step):
            tokens = round.path.logps(batch)
            found.update(_sums(batch, completion_sums(batch, tokens, round.config)))
            if plain is not found:
                plain.update(_sums(batch, completion_sums(batch, tokens, _PLAIN)))
            done = min(len(found) * round.team.size, len(pairs))
            round.report(done, len(pairs), "pairs, reference pass")
        for batch in round.idle_batches(step):
            round.path.logps(batch)
    return _of_all(round, found), _of_all(round, plain)


def recompute_some_logps(
    round: Round, pairs: Sequence[TrainingPair]
) -> tuple[list[TrainingPair], ReferenceLogps]:
    """(pairs whose log-probs the sampler told, their plain sums under the model): the first
    CHECKED_PAIRS of the first epoch."""
    in_order = chain.from_iterable(round.steps_of_epoch(pairs, epoch=0))
    told = (pair for pair in in_order if pair.sampled_logps != (None, None))
    some = list(islice(told, CHECKED_PAIRS))
    found = LogpsByPair(pair.pair_id for pair in some)
    if not some:  # in all processes of the team: they see the same pairs
        return some, found
    for batch in round.micro_batches(some):
        found.update(_sums(batch, completion_sums(batch, round.path.logps(batch), _PLAIN)))
    for batch in round.idle_batches(some):
        round.path.logps(batch)
    return some, _of_all(round, found)


def _cached(setting: RoundSetting, cache: ReferenceCache) -> Reference | None:
    """What the leader's cache holds: all go the same way, whatever their disks say."""
    ld_alpha = setting.job.config.ld_alpha
    mine = (cache.read(ld_alpha), cache.read(None)) if setting.team.leads else (None, None)
    counted, plain = setting.team.gather(mine)[0]
    return None if counted is None or plain is None else Reference(counted, plain, "cache")


def _by_pass(round: Round, pairs: Sequence[TrainingPair], cache: ReferenceCache) -> Reference:
    counted, plain = reference_pass(round, pairs)
    if round.team.leads:
        for ld_alpha, logps in {None: plain, round.config.ld_alpha: counted}.items():
            cache.write(logps, ld_alpha)
    return Reference(counted, plain, "pass")


def _of_all(round: Round, mine: LogpsByPair) -> LogpsByPair:
    """The log-probs that the processes of the team found."""
    for part in round.team.gather(mine):
        if part is not mine:
            mine.update(part)
    return mine


def _sums(batch: Sequence[TrainingPair], logps: PairLogps) -> dict[str, tuple[float, float]]:
    sums = zip(logps.chosen.tolist(), logps.rejected.tolist(), strict=True)
    return dict(zip([pair.pair_id for pair in batch], sums, strict=True))
