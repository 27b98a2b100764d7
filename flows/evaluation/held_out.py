"""Whom a round's policy is compared with, and their held-out answers as they are read."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.evaluation.overlap import find_overlap
from dpo_core.evaluation.texts import repetition
from dpo_core.records import Completion, Prompt, Split
from dpo_core.tables import iterate_rows
from flows.config import CampaignConfig
from flows.policy import EvaluatedPolicy, Policy, RoundPreferences, RoundRecord
from flows.read_back import ScoresBySource, read_completions, read_full_scores, read_prompts
from generation.prompts import Draw, draw_held_out, read_pool


@dataclass(frozen=True)
class Opponents:
    """The last promoted policy, the base, and the reference of the round's training if it had one.

    The reference answers nothing: only the distance to it is measured.
    """

    previous: EvaluatedPolicy
    base: EvaluatedPolicy
    reference: Policy | None

    @property
    def answering(self) -> Mapping[str, EvaluatedPolicy]:
        return {"previous": self.previous, "base": self.base}

    @property
    def policies(self) -> Mapping[str, Policy]:
        """All of them that there are, by what they are to the round's policy."""
        reference = {} if self.reference is None else {"reference": self.reference}
        return {"previous": self.previous.policy, **reference, "base": self.base.policy}


@dataclass(frozen=True)
class HeldOutAnswers:
    """The held-out answers of the policy of one round (0: the base), with the scores of the
    evaluation judges and those of the training judges, which may be the same.

    repeated: completion_id → share of the answer's runs of tokens that stood in it before; 0 for an
    answer that is too short for any.
    """

    round: int
    completions: Sequence[Completion]
    scores: ScoresBySource
    training_scores: ScoresBySource
    repeated: Mapping[str, float]

    def test(self) -> list[Completion]:
        """Those on which what is reported is measured; the gate's prompts flatter the winner."""
        return [c for c in self.completions if c.prompt.split == "test"]

    def few(self, prompts: int) -> "HeldOutAnswers":
        """The first answers to so many test prompts, in every round the same: ids are hashes, so
        that the first by them are as good as drawn."""
        first = {
            c.prompt.prompt_id: c
            for c in sorted(self.test(), key=lambda c: c.sample_index, reverse=True)
        }
        return replace(self, completions=[first[i] for i in sorted(first)[:prompts]])


@dataclass(frozen=True)
class Answers:
    """The steps that hold the held-out answers of one round's policy, and their scores."""

    round: int
    answers: Artifact
    scores: Artifact | None
    training_scores: Artifact | None = None

    @classmethod
    def of(cls, answered: EvaluatedPolicy) -> "Answers":
        return cls(
            answered.policy.round, answered.answers, answered.scores, answered.training_scores
        )

    def inputs(self, name: str) -> dict[str, Input]:
        """Their files, for what is made of them: `name` says whose they are."""
        found = {f"{name}_answers": self.answers.input("completions.parquet")}
        scored = {"scores": self.scores, "training_scores": self.training_scores}
        made = {f"{name}_{kind}": s.input("scores.parquet") for kind, s in scored.items() if s}
        return found | made


def read_answers(
    inputs: Inputs, name: str, number: int, *, same_judge: bool, prompts: str = "held_out"
) -> HeldOutAnswers:
    """The answers of the policy of round `number`, which are `name`'s among the inputs, to the
    prompts that are the input `prompts`.

    same_judge: the evaluation judge trains as well, so its scores are those of training.
    """
    answers = inputs.path(f"{name}_answers")
    completions = list(read_completions(answers, inputs.path(prompts)))
    scores = read_full_scores(inputs.find(f"{name}_scores"))
    by_training = inputs.find(f"{name}_training_scores")
    training_scores = scores if same_judge else read_full_scores(by_training)
    rows = iterate_rows(answers, ["completion_id", "token_ids"])
    repeated = {row["completion_id"]: repetition(row["token_ids"]) or 0.0 for row in rows}
    return HeldOutAnswers(number, completions, scores, training_scores, repeated)


def answered_earlier(earlier: Sequence[RoundRecord]) -> Iterator[Answers]:
    """The answers of the policies that earlier rounds trained, promoted or not."""
    for played in earlier:
        answers = played.made.get("answers")
        if answers is not None:
            yield Answers(answers.entry.round, answers, played.made.get("answer_scores"))


LEAST, MOST, SHARE = 256, 1024, 8
"""With `auto`: at least so many prompts of a split where it has them, at most so many, and between
these one of so many."""


def draw_of_evaluation(config: CampaignConfig, unfinished: Counter[str] | None = None) -> Draw:
    """The gate and test prompts of a campaign that begins with the pool as it is.

    unfinished: see generation.prompts.read_pool.
    """
    there = Counter[Split]()

    def pool() -> Iterator[Prompt]:
        for prompt in read_pool(config.prompts, unfinished):
            there[prompt.split] += 1
            yield prompt

    evaluation = config.evaluation
    asked: dict[Split, int | str] = {
        "gate": evaluation.gate_prompts,
        "test": evaluation.test_prompts,
    }
    most = {split: count if isinstance(count, int) else MOST for split, count in asked.items()}
    most["gate"] = min(most["gate"], config.gate.at_most_prompts or most["gate"])
    drawn = draw_held_out(pool(), most["gate"], most["test"], config.prompts)
    kept = list[Prompt]()
    for split, count in asked.items():
        found = [prompt for prompt in drawn.prompts if prompt.split == split]
        kept += found[: size_of(count, there[split])]
    left = len(drawn.prompts) - len(kept)
    dropped = Counter(drawn.dropped) + Counter({"not_drawn": left})
    return replace(drawn, prompts=kept, dropped=dict(sorted(dropped.items())))


def size_of(asked: int | str, there: int) -> int:
    """Most prompts that are held out of a split that has so many."""
    return asked if isinstance(asked, int) else min(MOST, max(LEAST, there // SHARE))


EXAMPLES = 10


def overlapping(inputs: Inputs, ngram: int) -> dict[str, Any]:
    """How many held-out prompts share a run of `ngram` words with a training prompt of the round;
    `examples` are ids of some. See dpo_core.evaluation.overlap for short prompts and templates."""
    asked, trained = (read_prompts(inputs.path(n)) for n in ("held_out", "training_prompts"))
    held = {prompt_id: prompt.shown() for prompt_id, prompt in asked.items()}
    training = (prompt.shown() for prompt in trained.values())
    found = find_overlap(held, training, ngram)
    return {
        "prompts": len(found.prompts),
        "of": found.of,
        "ngram": found.ngram,
        "examples": list(found.prompts[:EXAMPLES]),
    }


def trained_on(own: RoundPreferences) -> Artifact:
    """The step with the round's training prompts; an import holds its own."""
    return own.prompts or own.completions
