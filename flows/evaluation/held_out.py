"""Draw held-out prompts, and read the held-out answers that a round compares."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.round_parts import OverlapNumbers
from dpo_core.evaluation.overlap import find_overlap
from dpo_core.evaluation.texts import repetition
from dpo_core.records import Completion, Prompt, Split
from dpo_core.tables import iterate_rows
from flows.config import CampaignConfig
from flows.read_records import ScoresBySource, read_completions, read_full_scores, read_prompts
from flows.round_state import EvaluatedPolicy, Policy, RoundRecord
from generation.prompts import Draw, draw_held_out, read_pool


@dataclass(frozen=True)
class Opponents:
    """The incumbent `previous`, the base, and the reference of the round's training, if any.

    The reference gives no answers: only the KL to it is measured.
    """

    previous: EvaluatedPolicy
    base: EvaluatedPolicy
    reference: Policy | None

    @property
    def answering(self) -> Mapping[str, EvaluatedPolicy]:
        return {"previous": self.previous, "base": self.base}

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The opponents by their role, the reference included."""
        reference = {} if self.reference is None else {"reference": self.reference}
        return {"previous": self.previous.policy, **reference, "base": self.base.policy}

    @property
    def policy_inputs(self) -> dict[str, Input]:
        """<role>_policy → its weights."""
        return {f"{role}_policy": policy.input for role, policy in self.policies.items()}


@dataclass(frozen=True)
class HeldOutAnswers:
    """The held-out answers of one round's policy (0: the base), with scores by source.

    repeated: completion_id → share of the answer's token n-grams that occur earlier in it.
    """

    round: int
    completions: Sequence[Completion]
    scores: ScoresBySource
    training_scores: ScoresBySource
    repeated: Mapping[str, float]

    def test(self) -> list[Completion]:
        """Answers to test prompts. The gate's prompts are biased towards the winner."""
        return [c for c in self.completions if c.prompt.split == "test"]

    def few(self, prompts: int) -> "HeldOutAnswers":
        """First answers to that many test prompts, the same in all rounds: ids are hashes, so the
        lowest are a random sample."""
        first = {
            c.prompt.prompt_id: c
            for c in sorted(self.test(), key=lambda c: c.sample_index, reverse=True)
        }
        return replace(self, completions=[first[i] for i in sorted(first)[:prompts]])


@dataclass(frozen=True)
class Answers:
    """The steps with the held-out answers of one round's policy, and their scores."""

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
        """Their files as inputs `<name>_answers`, `<name>_scores`, `<name>_training_scores`."""
        answers = {f"{name}_answers": self.answers.input("completions.parquet")}
        scored = {"scores": self.scores, "training_scores": self.training_scores}
        scores = {f"{name}_{kind}": s.input("scores.parquet") for kind, s in scored.items() if s}
        return answers | scores

    def steps(self, name: str) -> dict[str, Artifact]:
        """The steps by name, where `name` is that of the answers."""
        return {name: self.answers} | ({f"{name}_scores": self.scores} if self.scores else {})


def read_answers(
    inputs: Inputs, name: str, number: int, *, same_judge: bool, prompts: str = "held_out"
) -> HeldOutAnswers:
    """The answers of round `number`'s policy, from the inputs named after `name`.

    same_judge: the evaluation judge is the training judge, so their scores are the same.
    """
    answers = inputs.path(f"{name}_answers")
    completions = list(read_completions(answers, inputs.path(prompts)))
    scores = read_full_scores(inputs.find(f"{name}_scores"))
    by_training = inputs.find(f"{name}_training_scores")
    training_scores = scores if same_judge else read_full_scores(by_training)
    rows = iterate_rows(answers, ["completion_id", "token_ids"])
    repeated = {row["completion_id"]: repetition(row["token_ids"]) or 0.0 for row in rows}
    return HeldOutAnswers(number, completions, scores, training_scores, repeated)


def find_earlier_answers(earlier: Sequence[RoundRecord]) -> Iterator[Answers]:
    """The answers of the policies that earlier rounds trained, promoted or not."""
    for record in earlier:
        answers = record.steps.get("answers")
        if answers is not None:
            yield Answers(answers.entry.round, answers, record.steps.get("answer_scores"))


LEAST, MOST, SHARE = 256, 1024, 8
"""With `auto`: at least LEAST prompts of a split if it has them, at most MOST, else 1 in SHARE."""


def draw_evaluation_prompts(config: CampaignConfig, unfinished: Counter[str] | None = None) -> Draw:
    """Draw the gate and test prompts of a campaign that starts with the present pool.

    unfinished: see generation.prompts.read_pool.
    """
    sizes = Counter[Split]()

    def pool() -> Iterator[Prompt]:
        for prompt in read_pool(config.prompts, unfinished):
            sizes[prompt.split] += 1
            yield prompt

    evaluation = config.evaluation
    wanted: dict[Split, int | str] = {
        "gate": evaluation.gate_prompts,
        "test": evaluation.test_prompts,
    }
    most = {split: count if isinstance(count, int) else MOST for split, count in wanted.items()}
    most["gate"] = min(most["gate"], config.gate.at_most_prompts or most["gate"])
    drawn = draw_held_out(pool(), most["gate"], most["test"], config.prompts)
    kept = list[Prompt]()
    for split, count in wanted.items():
        of_split = [prompt for prompt in drawn.prompts if prompt.split == split]
        kept += of_split[: count_to_hold_out(count, sizes[split])]
    left = len(drawn.prompts) - len(kept)
    dropped = Counter(drawn.dropped) + Counter({"not_drawn": left})
    return replace(drawn, prompts=kept, dropped=dict(sorted(dropped.items())))


def count_to_hold_out(wanted: int | str, size: int) -> int:
    """Most prompts to hold out of a split of this size."""
    return wanted if isinstance(wanted, int) else min(MOST, max(LEAST, size // SHARE))


EXAMPLES = 10


def measure_overlap(inputs: Inputs, ngram: int) -> OverlapNumbers:
    """How many held-out prompts share an n-gram of words with a training prompt of the round, with
    some ids. See dpo_core.evaluation.overlap for short prompts and templates."""
    asked, trained = (read_prompts(inputs.path(n)) for n in ("held_out", "training_prompts"))
    held = {prompt_id: prompt.shown() for prompt_id, prompt in asked.items()}
    training = (prompt.shown() for prompt in trained.values())
    overlap = find_overlap(held, training, ngram)
    return OverlapNumbers(
        prompts=len(overlap.prompts),
        of=overlap.of,
        ngram=overlap.ngram,
        examples=overlap.prompts[:EXAMPLES],
    )
