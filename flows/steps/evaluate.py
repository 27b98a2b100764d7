"""Step `evaluation`: is the candidate better than the last promoted policy and the base, and at
what distance from them? What is compared is prompt by prompt, on held-out prompts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_json
from dpo_core.campaign.store import Artifact, Made
from dpo_core.evaluation.comparison import Comparison, describe, outcome, summarise_kl
from dpo_core.records import OUTCOMES, Completion, Judgement, Pair, pair_id
from dpo_core.tables import read_rows, write_rows
from flows.policy import Answered
from flows.session import Session
from flows.steps.completions import ScoresBySource, read_completions, read_full_scores
from flows.steps.judge import judge_config, judged, judges_functions
from labeling.judges.behaviour import behaviour
from labeling.judges.config import machines


def evaluate(
    session: Session,
    number: int,
    candidate: Answered,
    previous: Answered,
    base: Answered,
    held_out: Artifact,
) -> Artifact:
    """Win rates, KL, length and judge statistics of the candidate, with intervals."""
    opponents = {"previous": previous, "base": base}

    def make(folder: Path) -> Made:
        theirs = {
            name: list(read_completions(o.answers, held_out)) for name, o in opponents.items()
        }
        ours = list(read_completions(candidate.answers, held_out))
        own = read_full_scores(candidate.scores)
        compared = [
            _compared(session, name, (own, read_full_scores(o.scores)), ours, theirs[name])
            for name, o in opponents.items()
        ]
        rows = [row for one in compared for row in _outcomes(session, one)]
        write_rows(folder / "outcomes.parquet", rows, OUTCOMES)
        numbers = {
            **_win_rates(session, rows),
            **_kl(session, folder, candidate, opponents, ours),
            **_descriptions(session, candidate, opponents, ours, theirs),
        }
        write_json(folder / "evaluation.json", numbers)
        undecided = sum(row["outcome"] is None for row in rows)
        dropped = {"unreadable": undecided} if undecided else {}
        facts = {"judges": _behaviour(compared, own, ours), **session.judges.started()}
        versions = dict(session.judges.versions)
        return Made(len(rows), len(rows) - undecided, dropped, facts, versions)

    return session.step(
        number,
        "evaluation",
        make,
        config={
            **session.config.evaluation.model_dump(mode="json"),
            **judge_config(session.config.held_out_judge),
            "sampling": session.config.sampling.model_dump(include={"temperature", "top_p"}),
        },
        inputs=_inputs(candidate, previous, base),
        functions=judges_functions(session.config.held_out_judge),
    )


def _inputs(candidate: Answered, previous: Answered, base: Answered) -> Mapping[str, str]:
    inputs = {}
    for name, answered in (("candidate", candidate), ("previous", previous), ("base", base)):
        inputs[f"{name}_policy"] = answered.policy.id
        inputs[f"{name}_answers"] = answered.answers.hash("completions.parquet")
        if answered.scores is not None:
            inputs[f"{name}_scores"] = answered.scores.hash("scores.parquet")
    return inputs


@dataclass(frozen=True)
class _Compared:
    """The candidate's answers (a) against an opponent's (b), and what each judge said of them."""

    opponent: str
    pairs: list[Pair]
    by_source: Mapping[str, list[Judgement]]


def _compared(
    session: Session,
    opponent: str,
    scored: tuple[ScoresBySource, ScoresBySource],
    ours: list[Completion],
    theirs: list[Completion],
) -> _Compared:
    """Answers of both to the same prompt with the same seed, judged."""
    matching = {(c.prompt.prompt_id, c.sample_index): c for c in theirs}
    pairs = [
        Pair(pair_id(c.completion_id, other.completion_id), c, other)
        for c in ours
        if (other := matching.get((c.prompt.prompt_id, c.sample_index))) is not None
    ]
    us, them = scored
    both = {source: {**them[source], **scores} for source, scores in us.items()}
    found = judged(session, session.config.held_out_judge, pairs, both)
    return _Compared(opponent, pairs, {source: list(judgements) for source, judgements in found})


def _outcomes(session: Session, compared: _Compared) -> Iterator[dict[str, Any]]:
    """One row per pair; 1: the candidate won."""
    judge = session.config.held_out_judge
    weights = {member.source: member.weight for member in machines(judge)}
    counted = [weights[source] for source in compared.by_source]
    together = zip(*compared.by_source.values(), strict=True)
    for pair, judgements in zip(compared.pairs, together, strict=True):
        yield {
            "opponent": compared.opponent,
            "split": pair.a.prompt.split,
            "prompt_id": pair.a.prompt.prompt_id,
            "sample_index": pair.a.sample_index,
            "outcome": _outcome(pair, counted, judgements),
            "reason": "; ".join(judgement.reason for judgement in judgements),
        }


def _behaviour(
    compared: Sequence[_Compared], own: ScoresBySource, ours: list[Completion]
) -> dict[str, Any]:
    """source → how it judged the candidate's answers; a pair that stands twice is counted once."""
    found = {}
    for source in compared[0].by_source:
        judged_by = {
            pair.pair_id: (pair, judgement)
            for one in compared
            for pair, judgement in zip(one.pairs, one.by_source[source], strict=True)
        }
        scores = own.get(source, {})
        scored = [(c, scores[c.completion_id]) for c in ours if scores]
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


def _win_rates(session: Session, rows: list[dict[str, Any]]) -> dict[str, Any]:
    compare = Comparison(session.config.evaluation)
    decided = [row for row in rows if row["outcome"] is not None]

    def of(opponent: str, split: str) -> list[dict[str, Any]]:
        return [r for r in decided if r["opponent"] == opponent and r["split"] == split]

    numbers = {
        **compare.win_rate("win_rate_previous", of("previous", "test")),
        **compare.win_rate("win_rate_base", of("base", "test")),
        **compare.win_rate("win_rate_gate", of("previous", "gate")),
    }
    for split in ("gate", "test"):
        numbers[f"{split}_prompts"] = len({r["prompt_id"] for r in of("previous", split)})
    return numbers


def _kl(
    session: Session,
    folder: Path,
    candidate: Answered,
    opponents: Mapping[str, Answered],
    ours: list[Completion],
) -> dict[str, Any]:
    """KL(candidate || opponent) on the candidate's own test answers, none unless sampled raw."""
    if not session.config.sampling.is_raw:
        return {f"kl_{name}_nats": None for name in opponents}
    rows = read_rows(
        candidate.answers.path("completions.parquet"), ["completion_id", "token_logps"]
    )
    own = {row["completion_id"]: sum(row["token_logps"]) for row in rows}
    test = [c for c in ours if c.prompt.split == "test"]
    numbers: dict[str, Any] = {}
    scored: dict[str, dict[str, float]] = {}
    for name, opponent in opponents.items():
        if opponent.policy.id not in scored:
            scored[opponent.policy.id] = _logps(session, folder, candidate, opponent, name)
        theirs = scored[opponent.policy.id]
        ratios = [own[c.completion_id] - theirs[c.completion_id] for c in test]
        groups = [c.prompt.prompt_id for c in test]
        numbers |= summarise_kl(f"kl_{name}_nats", ratios, groups, session.config.evaluation)
    return numbers


def _logps(
    session: Session, folder: Path, candidate: Answered, opponent: Answered, name: str
) -> dict[str, float]:
    """Log-probs of the candidate's answers under the opponent's policy."""
    out = folder / f"logps_{name}.parquet"
    session.sample(
        {
            "op": "logps",
            "policy": str(opponent.policy.folder),
            "completions": str(candidate.answers.path("completions.parquet")),
            "out": str(out),
        }
    )
    return {row["completion_id"]: row["logp"] for row in read_rows(out)}


def _descriptions(
    session: Session,
    candidate: Answered,
    opponents: Mapping[str, Answered],
    ours: list[Completion],
    theirs: Mapping[str, list[Completion]],
) -> dict[str, Any]:
    """Length, truncation, score and measures on test prompts; the opponents' beside them."""
    evaluation = session.config.evaluation
    numbers = describe(ours, _score_rows(candidate), evaluation)
    for name, opponent in opponents.items():
        found = describe(theirs[name], _score_rows(opponent), evaluation)
        numbers |= {f"{key}_{name}": value for key, value in found.items() if _is_estimate(key)}
    return numbers


def _is_estimate(name: str) -> bool:
    return not name.endswith(("_low", "_high"))


def _score_rows(answered: Answered) -> list[dict[str, Any]]:
    """Scores of the first judge that scores: those of several are on scales of their own."""
    if answered.scores is None:
        return []
    rows = read_rows(answered.scores.path("scores.parquet"))
    return [row for row in rows if row["source"] == rows[0]["source"]]
