"""Step `pairs`: select the completions of each prompt to compare."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.step_facts import PairsFacts
from dpo_core.records import Completion
from dpo_core.schemas import PAIRS
from dpo_core.tables import write_rows
from flows.read_records import group_by_prompt, read_committee, read_completions
from flows.round_state import OWN_SAMPLES, DrawnAnswers
from flows.session import Session
from generation.jobs import CompletionsFacts
from labeling.judges.config import machines
from labeling.pairs import delta, selection
from labeling.pairs.config import PairsConfig
from labeling.pairs.equal_scores import InformativePrompts


def select_pairs(session: Session, number: int, drawn: DrawnAnswers) -> Artifact:
    """The pairs of each prompt, and why there are not more.

    `came_in` counts prompts, each of which gives one pair or is dropped; with all_over_margin it
    counts all possible pairs.
    """
    seed = session.seed("pairs", number)
    own_samples = drawn.own_samples

    def make(folder: Path, inputs: Inputs) -> StepResult:
        dropped: Counter[str] = Counter()
        paired: Counter[bool] = Counter()
        informative = InformativePrompts(session.config.pairs.min_margin)
        score_file = inputs.find("scores")
        files = inputs.path("completions"), inputs.path("prompts")
        answered = _read_scored(session, [files], [score_file] if score_file is not None else [])

        def rows() -> Iterator[Mapping[str, object]]:
            for answers, given in answered:
                if own_samples is None:
                    informative.add(answers[0].prompt, given)
                selected = _select(answers, given, session.config.pairs, seed, own_samples)
                dropped.update(selected.dropped)
                paired[bool(selected.pairs)] += 1
                yield from map(asdict, selected.pairs)

        kept = write_rows(folder / "pairs.parquet", rows(), PAIRS)
        facts = PairsFacts(prompts_with_pairs=paired[True], prompts_without_pairs=paired[False])
        came_in = kept + dropped.total()
        other = drawn.completions.facts(CompletionsFacts).rejected_from
        if notice := informative.notice or delta.notice(dropped, came_in, other):
            session.progress.notice(f"round {number}: {notice}")
        return StepResult(came_in, kept, dict(sorted(dropped.items())), facts)

    judges = machines(session.config.judge) if drawn.scores is not None else ()
    config = {
        # The answers count, whoever gave them.
        **session.config.pairs.model_dump(mode="json", exclude={"rejected_from"}),
        "seed": seed,
        "weights": {judge.source: judge.weight for judge in judges},
        **({OWN_SAMPLES: own_samples} if own_samples is not None else {}),
    }
    return session.step(number, "pairs", make, config=config, inputs=drawn.inputs())


def count_pairs(session: Session, number: int, draws: Sequence[DrawnAnswers]) -> int:
    """How many pairs the draws of a round give together."""
    files = [
        (draw.completions.path("completions.parquet"), draw.prompts.path("prompts.parquet"))
        for draw in draws
    ]
    scores = [draw.scores.path("scores.parquet") for draw in draws if draw.scores is not None]
    config, seed = session.config.pairs, session.seed("pairs", number)
    own_samples = draws[0].own_samples if draws else None
    answered = _read_scored(session, files, scores)
    return sum(len(_select(*each, config, seed, own_samples).pairs) for each in answered)


def _select(
    answers: Sequence[Completion],
    scores: selection.Scores,
    config: PairsConfig,
    seed: int,
    own_samples: int | None,
) -> selection.Selection:
    """The pairs of one prompt; own_samples: see OWN_SAMPLES, None where all answers are its own."""
    if own_samples is None:
        return selection.select_pairs(answers, scores, config, seed)
    own = [answer for answer in answers if answer.sample_index < own_samples]
    others = [answer for answer in answers if answer.sample_index >= own_samples]
    return delta.select_against(own, others, scores, config, seed)


def _read_scored(
    session: Session, files: Sequence[tuple[Path, Path]], scores: Sequence[Path]
) -> Iterator[tuple[list[Completion], Mapping[str, float | None]]]:
    """The answers to each prompt with their scores; files: (completions, prompts)."""
    committee = read_committee(scores, session.config.judge)
    for completions, prompts in files:
        for _, answers in group_by_prompt(read_completions(completions, prompts)):
            yield answers, committee.scores([answer.completion_id for answer in answers])
