"""Held-out answers of two policies side by side, and what a judge says of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dpo_core.evaluation.comparison import outcome
from dpo_core.records import OTHER_SIDE, Judgement, Pair, Side, pair_id
from flows.config.gate import GateConfig
from flows.evaluation.held_out import HeldOutAnswers
from flows.evaluation.judge_answers import judged
from flows.session import Session
from labeling.judges.behaviour import behaviour
from labeling.judges.config import AnyJudgeConfig, machines
from labeling.judges.protocol import unjudged_side

_WHOSE: Mapping[Side, str] = {"a": "policy", "b": "opponent"}


@dataclass(frozen=True)
class Match:
    """The round's policy (a) against another policy (b): a pair of answers per prompt and sample
    index, and what each judge says of it.

    unjudged_loses: where one answer alone could not be judged, it lost; else that judge's verdict
    is left out.
    """

    ours: HeldOutAnswers
    theirs: HeldOutAnswers
    pairs: Sequence[Pair]
    by_source: Mapping[str, Sequence[Judgement]]
    weights: Mapping[str, float]
    unjudged_loses: bool = False

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per pair, but for the opponent's name; 1: the round's policy won."""
        counted = [self.weights[source] for source in self.by_source]
        together = zip(*self.by_source.values(), strict=True)
        for pair, judgements in zip(self.pairs, together, strict=True):
            yield {
                "split": pair.a.prompt.split,
                "prompt_id": pair.a.prompt.prompt_id,
                "sample_index": pair.a.sample_index,
                "outcome": self._outcome(pair, counted, judgements),
                "length_difference": pair.a.tokens - pair.b.tokens,
                "reason": "; ".join(judgement.reason for judgement in judgements),
                "unjudged": _unjudged(pair, judgements),
            }

    def _outcome(
        self, pair: Pair, weights: Sequence[float], judgements: Sequence[Judgement]
    ) -> float | None:
        """The mean outcome of the judges that decided, by their weights; None when none did."""
        decided = [
            (weight, value)
            for weight, judgement in zip(weights, judgements, strict=True)
            if (value := self._value(pair, judgement)) is not None
        ]
        total = sum(weight for weight, _ in decided)
        return sum(weight * value for weight, value in decided) / total if decided else None

    def _value(self, pair: Pair, judgement: Judgement) -> float | None:
        side = unjudged_side(pair, judgement) if self.unjudged_loses else None
        verdict = judgement.verdict if side is None else OTHER_SIDE[side]
        return outcome(pair.a.text == pair.b.text, verdict)


def play_all(
    session: Session,
    judge: AnyJudgeConfig,
    ours: HeldOutAnswers,
    others: Mapping[str, HeldOutAnswers],
) -> dict[str, Match]:
    """The match against each of `others`.

    The base is the previous policy until a round is promoted: one match then is both.
    """
    distinct = {other.round: other for other in others.values()}
    by_round = {n: play_match(session, judge, ours, other) for n, other in distinct.items()}
    return {name: by_round[other.round] for name, other in others.items()}


def outcomes(matches: Mapping[str, Match]) -> Iterator[dict[str, Any]]:
    """Rows of OUTCOMES, one per opponent and pair; 1: the round's policy won."""
    for name, match in matches.items():
        yield from ({"opponent": name, **row} for row in match.rows())


def play_match(
    session: Session, judge: AnyJudgeConfig, ours: HeldOutAnswers, theirs: HeldOutAnswers
) -> Match:
    """Answers of both to the same prompt with the same seed, judged; where `judge` scores, by the
    scores that the answers have of the evaluation judge."""
    matching = {(c.prompt.prompt_id, c.sample_index): c for c in theirs.completions}
    pairs = [
        Pair(pair_id(c.completion_id, other.completion_id), c, other)
        for c in ours.completions
        if (other := matching.get((c.prompt.prompt_id, c.sample_index))) is not None
    ]
    both = {source: {**theirs.scores[source], **own} for source, own in ours.scores.items()}
    found = {source: list(said) for source, said in judged(session, judge, pairs, both)}
    weights = {member.source: member.weight for member in machines(judge)}
    loses = unjudged_loses(session.config.gate)
    return Match(ours, theirs, pairs, found, weights, loses)


def judges_behaviour(matches: Sequence[Match]) -> dict[str, Any]:
    """source → how it judged the policy's answers; a pair that stands twice is counted once."""
    ours, found = matches[0].ours, {}
    for source in matches[0].by_source:
        judged_by = {
            pair.pair_id: (pair, judgement)
            for match in matches
            for pair, judgement in zip(match.pairs, match.by_source[source], strict=True)
        }
        scores = ours.scores.get(source, {})
        scored = [(c, scores[c.completion_id]) for c in ours.completions if scores]
        found[source] = asdict(behaviour(list(judged_by.values()), scored))
    return found


def unjudged_loses(gate: GateConfig) -> bool:
    """Whether an answer that could not be judged lost; campaigns made before there was a
    `gate.decided_share` leave the comparison out."""
    return gate.decided_share is not None


def _unjudged(pair: Pair, judgements: Sequence[Judgement]) -> str | None:
    """Whose answer alone some judge could not judge."""
    sides = {side for one in judgements if (side := unjudged_side(pair, one)) is not None}
    return _WHOSE[sides.pop()] if len(sides) == 1 else None
