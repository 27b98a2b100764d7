"""Matches: two policies' held-out answers, compared by a judge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo_core.campaign.inputs import Input
from dpo_core.evaluation.comparison import outcome
from dpo_core.gate.config import GateConfig
from dpo_core.records import OTHER_SIDE, Judgement, Pair, Side, pair_id
from dpo_core.schemas import Answerer, OutcomeRow
from flows.config.campaign import CampaignConfig
from flows.evaluation.held_out import HeldOutAnswers
from flows.read_records import ScoresBySource
from flows.session import Session
from labeling.judges.behaviour import Behaviour, measure_behaviour
from labeling.judges.both_orders import judge_both_orders
from labeling.judges.config import AnyJudgeConfig, Judge, gives_scores, machines
from labeling.judges.make import answer_fields, judges_giving, pairwise_judge
from labeling.judges.protocol import unjudged_side, verdict_from_scores

_WHOSE: Mapping[Side, Answerer] = {"a": "policy", "b": "opponent"}


@dataclass(frozen=True)
class Match:
    """The round's policy (a) against another policy (b): one pair of answers per prompt and sample
    index, with each judge's judgements.

    unjudged_loses: an answer that alone could not be judged lost; otherwise that verdict is left
    out.
    """

    ours: HeldOutAnswers
    theirs: HeldOutAnswers
    pairs: Sequence[Pair]
    by_source: Mapping[str, Sequence[Judgement]]
    weights: Mapping[str, float]
    unjudged_loses: bool = False

    def rows(self, opponent: str) -> Iterator[OutcomeRow]:
        """One row per pair; outcome 1: the round's policy won."""
        weights = [self.weights[source] for source in self.by_source]
        by_pair = zip(*self.by_source.values(), strict=True)
        for pair, judgements in zip(self.pairs, by_pair, strict=True):
            yield {
                "opponent": opponent,
                "split": pair.a.prompt.split,
                "prompt_id": pair.a.prompt.prompt_id,
                "sample_index": pair.a.sample_index,
                "outcome": self._outcome(pair, weights, judgements),
                "length_difference": pair.a.tokens - pair.b.tokens,
                "reason": "; ".join(judgement.reason for judgement in judgements),
                "unjudged": _find_unjudged(pair, judgements),
            }

    def _outcome(
        self, pair: Pair, weights: Sequence[float], judgements: Sequence[Judgement]
    ) -> float | None:
        """Weighted mean outcome of the judges that decided; None if none did."""
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


def play_matches(
    session: Session,
    judge: AnyJudgeConfig,
    ours: HeldOutAnswers,
    others: Mapping[str, HeldOutAnswers],
) -> dict[str, Match]:
    """The match against each of `others`; policies that are the same share one match."""
    distinct = {other.round: other for other in others.values()}
    by_round = {n: play_match(session, judge, ours, other) for n, other in distinct.items()}
    return {name: by_round[other.round] for name, other in others.items()}


def iterate_outcomes(matches: Mapping[str, Match]) -> Iterator[OutcomeRow]:
    """One row per opponent and pair; 1: the round's policy won."""
    for name, match in matches.items():
        yield from match.rows(name)


def play_match(
    session: Session, judge: AnyJudgeConfig, ours: HeldOutAnswers, theirs: HeldOutAnswers
) -> Match:
    """Judge both policies' answers to the same prompt with the same seed; a judge that scores is
    represented by the scores that the answers have."""
    matching = {(c.prompt.prompt_id, c.sample_index): c for c in theirs.completions}
    pairs = [
        Pair(pair_id(c.completion_id, other.completion_id), c, other)
        for c in ours.completions
        if (other := matching.get((c.prompt.prompt_id, c.sample_index))) is not None
    ]
    scores = {source: {**theirs.scores[source], **own} for source, own in ours.scores.items()}
    by_source = {source: list(js) for source, js in judge_pairs(session, judge, pairs, scores)}
    weights = {member.source: member.weight for member in machines(judge)}
    return Match(ours, theirs, pairs, by_source, weights, unjudged_loses(session.config.gate))


def measure_judges(matches: Sequence[Match]) -> dict[str, Behaviour]:
    """source → how it judged the policy's answers; each pair counts once."""
    ours, measured = matches[0].ours, dict[str, Behaviour]()
    for source in matches[0].by_source:
        judged_by = {
            pair.pair_id: (pair, judgement)
            for match in matches
            for pair, judgement in zip(match.pairs, match.by_source[source], strict=True)
        }
        scores = ours.scores.get(source, {})
        scored = [(c, scores[c.completion_id]) for c in ours.completions if scores]
        measured[source] = measure_behaviour(list(judged_by.values()), scored)
    return measured


def unjudged_loses(gate: GateConfig) -> bool:
    """Whether an answer that could not be judged lost. Campaigns from before `gate.decided_share`
    leave the comparison out."""
    return gate.decided_share is not None


def _find_unjudged(pair: Pair, judgements: Sequence[Judgement]) -> Answerer | None:
    """The only side that some judge could not judge."""
    sides = {side for j in judgements if (side := unjudged_side(pair, j)) is not None}
    return _WHOSE[sides.pop()] if len(sides) == 1 else None


def scores_with_training_judge(config: CampaignConfig) -> bool:
    """Whether the training judge scores held-out answers besides the evaluation judge."""
    wanted = config.evaluation.training_judge and gives_scores(config.judge)
    return wanted and not has_same_judges(config)


def compares_with_training_judge(config: CampaignConfig) -> bool:
    """Whether a training judge without scores reads held-out pairs besides the evaluation judge."""
    wanted = config.evaluation.training_judge and not gives_scores(config.judge)
    return wanted and bool(_find_machines(config.judge)) and not has_same_judges(config)


def has_same_judges(config: CampaignConfig) -> bool:
    """Whether evaluation and training use the same judges, people aside."""
    return _find_machines(config.judge) == _find_machines(config.held_out_judge)


def shared_judge_warning(config: CampaignConfig) -> str | None:
    """A warning if a judge evaluates the policy that it trained, else None."""
    training = _find_machines(config.judge)
    shared = [m.source for m in machines(config.held_out_judge) if _identify(m) in training]
    if not shared:
        return None
    return (
        f"Training and evaluation share the judge {', '.join(shared)}, so reward hacking cannot be "
        "ruled out. Set an independent `evaluation_judge`."
    )


def _find_machines(config: AnyJudgeConfig) -> list[dict[str, object]]:
    return [_identify(member) for member in machines(config)]


def _identify(member: Judge) -> dict[str, object]:
    """What its answers depend on, without its name."""
    return {key: value for key, value in answer_fields(member).items() if key != "id"}


def judge_pairs(
    session: Session, config: AnyJudgeConfig, pairs: Sequence[Pair], scored: ScoresBySource
) -> Iterator[tuple[str, Iterator[Judgement]]]:
    """(source, one judgement per pair) of each judge of `config` that is a machine."""
    for member in machines(config):
        yield member.source, _judge_by(session, member, pairs, scored)


def _judge_by(
    session: Session, member: Judge, pairs: Sequence[Pair], scored: ScoresBySource
) -> Iterator[Judgement]:
    pairwise = pairwise_judge(member, session.judges.models)
    if pairwise is not None:
        return judge_both_orders(pairwise, pairs)
    own = scored[member.source]
    return (
        verdict_from_scores(
            own[p.a.completion_id], own[p.b.completion_id], rewards=member.gives_rewards
        )
        for p in pairs
    )


def judge_model_inputs(
    session: Session, config: AnyJudgeConfig, gives: str | None = None
) -> dict[str, Input]:
    """The judges' local models, known by content wherever they are."""
    models = ((m.source, getattr(m, "model", None)) for m in judges_giving(config, gives))
    return {
        f"model of {source}": session.model_input(Path(model))
        for source, model in models
        if model is not None and Path(model).is_dir()
    }
