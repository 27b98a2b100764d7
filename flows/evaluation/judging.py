"""Held-out answers of two policies side by side, and what a judge says of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dpo_core.evaluation.comparison import outcome
from dpo_core.records import Judgement, Pair, pair_id
from flows.evaluation.held_out import HeldOutAnswers
from flows.judge_answers import judged
from flows.session import Session
from labeling.judges.behaviour import behaviour
from labeling.judges.config import AnyJudgeConfig, machines


@dataclass(frozen=True)
class Match:
    """The round's policy (a) against another policy (b): a pair of answers per prompt and sample
    index, and what each judge says of it."""

    ours: HeldOutAnswers
    theirs: HeldOutAnswers
    pairs: Sequence[Pair]
    by_source: Mapping[str, Sequence[Judgement]]
    weights: Mapping[str, float]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per pair, but for the opponent's name; 1: the round's policy won."""
        counted = [self.weights[source] for source in self.by_source]
        together = zip(*self.by_source.values(), strict=True)
        for pair, judgements in zip(self.pairs, together, strict=True):
            yield {
                "split": pair.a.prompt.split,
                "prompt_id": pair.a.prompt.prompt_id,
                "sample_index": pair.a.sample_index,
                "outcome": _outcome(pair, counted, judgements),
                "length_difference": pair.a.tokens - pair.b.tokens,
                "reason": "; ".join(judgement.reason for judgement in judgements),
            }


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
    return Match(ours, theirs, pairs, found, weights)


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


def _outcome(pair: Pair, weights: list[float], judgements: tuple[Judgement, ...]) -> float | None:
    """The mean outcome of the judges that could decide, by their weights; None when none could."""
    same = pair.a.text == pair.b.text
    decided = [
        (weight, value)
        for weight, judgement in zip(weights, judgements, strict=True)
        if (value := outcome(same, judgement.verdict)) is not None
    ]
    total = sum(weight for weight, _ in decided)
    return sum(weight * value for weight, value in decided) / total if decided else None
