"""The facts of steps that draw prompts, ask people or test, and what any step took.

Those of steps that judge are in labeling.step_facts; those of answers in generation.jobs and of
training in dpo_core.training.results, beside what the child processes hand back.
"""

from typing import Literal

from pydantic import Field

from dpo_core.records import Cost
from dpo_core.step_facts import EngineSpeed
from dpo_core.step_facts import StepFacts as StepFacts


class StepCosts(StepFacts):
    """What making any step took, recorded among its facts.

    judges_spent: source → what it was paid, of the spending file up to byte `spending_to`.
    """

    cpu_seconds: float | None = None
    gpu_seconds: float | None = None
    judges_spent: dict[str, Cost] = Field(default_factory=dict)
    spending_to: int | None = None


class HeldOutFacts(StepFacts):
    """The prompts held out, by split."""

    gate: int = 0
    test: int = 0


class ProcessFacts(StepFacts):
    """seconds_start: for starting processes and loading their models."""

    seconds_start: float = 0.0


class PromptsFacts(StepFacts):
    """reused: drawn in earlier rounds too. The others: how drawing for a number of pairs ended."""

    until_pairs: int | None = None
    budget_tokens: int | None = None
    drawn: int | None = None
    sampled_tokens: int | None = None
    pairs: int | None = None
    ended_by: str | None = None
    reused: int = 0


class SampledFacts(StepFacts):
    """What sampling read and wrote; seconds_engine: None of a step that sampled nothing, of several
    `engines` those of the one that took longest."""

    prompt_tokens: int | None = None
    tokens: int = 0
    seconds_engine: float | None = None
    engines: tuple[EngineSpeed, ...] = ()


class PairsFacts(StepFacts):
    """The prompts that gave pairs, and those that gave none."""

    prompts_with_pairs: int = 0
    prompts_without_pairs: int = 0


class LabelsFacts(StepFacts):
    """What people were asked and answered.

    asked, answers: by kind of item. gold_right: of the answers to gold pairs. dataset: on the
    server. pulls: how often answers were read again after the round had its labels.
    """

    asked: dict[str, int] = Field(default_factory=dict)
    answers: dict[str, int] = Field(default_factory=dict)
    verdicts: dict[str, int] = Field(default_factory=dict)
    by_annotator: dict[str, int] = Field(default_factory=dict)
    by_mode: dict[str, int] = Field(default_factory=dict)
    by_why: dict[str, int] = Field(default_factory=dict)
    gold_right: int = 0
    gold_answered: int = 0
    dataset: str | None = None
    ended_by: str = ""
    answers_needed: int = 0
    answers_missing: int = 0
    seconds_waited: float = 0.0
    pulls: int = 0


class DataFacts(StepFacts):
    """The pairs that a round trained on, by the number of the round they are from."""

    pairs_by_round: dict[str, int] = Field(default_factory=dict)


class RelevanceFacts(ProcessFacts):
    """requests: the most that an answer was placed among."""

    requests: int | None = None


class LookFacts(ProcessFacts):
    """A comparison on gate prompts for one turn of a certified gate.

    gate_prompts_to: the end of the prompts it used, as a position in the pool.
    """

    gate_prompts_to: int | None = None
    turn: str = ""


class CertificateFacts(StepFacts):
    """One decision of a certified gate; nothing was measured where `certified` is false.

    log_e: the evidence, which promotes where it reaches `needed`. about: what the claim is about.
    start, prompts: the pool's prompts that the test used. decision, planned: of the campaign.
    """

    certified: bool = False
    passed: bool = False
    log_e: float | None = None
    needed: float | None = None
    alpha: float | None = None
    win_rate: float | None = None
    about: Literal["pool", "gate_set"] = "pool"
    start: int = 0
    prompts: int = 0
    units: int | None = None
    reached_at: int | None = None
    decision: int | None = None
    planned: int | None = None
    false_promotions: float | None = None
    pool: int = 0
    attempt: int = 1
    turn: str = ""
    declared: str = ""
