"""The log-probs of a round's pairs under its reference, computed once, before the first step."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dpo_core.config import TrainingConfig
from dpo_core.preference.pair_logps import PairLogps
from dpo_core.training.batching import TrainingPair
from dpo_core.training.logps_by_pair import LogpsByPair
from dpo_core.training.objective import ReferenceLogps, completion_sums
from dpo_core.training.round import Round

_PLAIN = TrainingConfig()


def reference_pass(
    round: Round, pairs: Sequence[TrainingPair]
) -> tuple[ReferenceLogps, ReferenceLogps]:
    """Log-probs under the policy before its first step: (as the loss sums them, plain sums).

    Batches are those of the first epoch, so rounding is the same there and first margins are 0.
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


def _of_all(round: Round, mine: LogpsByPair) -> LogpsByPair:
    """The log-probs that the processes of the team found."""
    for part in round.team.gather(mine):
        if part is not mine:
            mine.update(part)
    return mine


def reference_rows(logps: ReferenceLogps, policy: str) -> Iterator[Mapping[str, Any]]:
    """Rows of schema REFERENCE_LOGPS, by pair id."""
    for pair_id in sorted(logps):
        chosen, rejected = logps[pair_id]
        yield {"policy": policy, "pair_id": pair_id, "chosen": chosen, "rejected": rejected}


def _sums(batch: Sequence[TrainingPair], logps: PairLogps) -> dict[str, tuple[float, float]]:
    sums = zip(logps.chosen.tolist(), logps.rejected.tolist(), strict=True)
    return dict(zip([pair.pair_id for pair in batch], sums, strict=True))
