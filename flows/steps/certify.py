"""Step `certificate`: is the candidate better, by a sequential test valid over the whole campaign?

Both policies answer gate prompts, in hash order and batch by batch, and the evaluation judge
compares, until the test decides or `gate.at_most_prompts` are used.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.step_facts import CertificateFacts, HeldOutFacts, LookFacts
from dpo_core.evaluation.certification import Evidence, cannot_win, evidence, evidence_on_set
from dpo_core.gate.account import CERTIFICATE, LOOKED, Account, Turn, account_before
from dpo_core.hashing import digest
from dpo_core.records import Prompt, PromptRow, prompt_from_row, prompt_row
from dpo_core.schemas import OUTCOMES, PROMPTS, OutcomeRow
from dpo_core.tables import iterate_as, write_rows
from flows.config import CampaignConfig
from flows.evaluation.held_out import Answers, read_answers
from flows.evaluation.judging import iterate_outcomes, judge_model_inputs, play_match
from flows.gate.power import max_prompts, planned_decisions
from flows.round_state import EvaluatedPolicy, Policy
from flows.session import Session
from flows.steps.gate_pool import POOL, complete_units, find_gate_pool
from flows.steps.prompts import pool_functions
from flows.steps.sample import Samples, sampling_config, write_completions
from flows.steps.score import score
from flows.steps.train import loss_functions
from labeling.judges.make import judge_config, judges_functions

_STEERS_NO_CANDIDATE = {
    "name",
    "rounds",
    "stop",
    "keep_policies",
    "schedule",
    "retries",
    "notify",
    "prices",
    "track",
    "threads",
}
"""Sections that do not change candidates, so that a change may look at the same prompts."""

_NOT_METRICS = ("turn", "declared")


@dataclass(frozen=True)
class CertificateResult:
    """The result of the test, and the steps behind it by name."""

    made: Artifact
    steps: Mapping[str, Artifact | None]

    @property
    def facts(self) -> CertificateFacts:
        return self.made.facts(CertificateFacts)

    @property
    def metrics(self) -> Mapping[str, object]:
        """Its part of the round's metrics."""
        return {n: v for n, v in self.made.entry.facts.items() if n not in _NOT_METRICS}

    @property
    def inputs(self) -> dict[str, Input]:
        return {CERTIFICATE: self.made.input("certificate.json")}


@dataclass(frozen=True)
class _Test:
    """One decision: the candidate against the incumbent, under `account`.

    prompts: of the pool. first: how many of them the evaluation used, and each batch uses.
    """

    session: Session
    number: int
    turn: Turn
    candidate: EvaluatedPolicy
    previous: EvaluatedPolicy
    evaluation: Artifact
    pool: Artifact
    account: Account
    prompts: Sequence[Prompt]
    first: int

    @property
    def config(self) -> CampaignConfig:
        return self.session.config

    @property
    def alpha(self) -> float:
        level = self.config.gate.false_promotions
        assert level is not None, "a certified gate has a level"
        return self.account.alpha(planned_decisions(self.config), level)


@dataclass(frozen=True)
class _Batch:
    """Gate prompts that are compared in steps of this name.

    to: where they end in the pool. afresh: part of the seeds, for answers of one test alone.
    """

    name: str
    prompts: Sequence[Prompt]
    to: int
    afresh: str | None = None


def certify(
    session: Session,
    number: int,
    attempt: int,
    candidate: EvaluatedPolicy,
    previous: EvaluatedPolicy,
    evaluation: Artifact,
    held_out: Artifact,
) -> CertificateResult | None:
    """The candidate's certificate, perhaps that there can be none; None for a plain gate."""
    pool = find_gate_pool(session, held_out)
    if pool is None:
        return None
    first = held_out.facts(HeldOutFacts).gate
    turn = _turn(session.config, number, attempt, evaluation, first)
    account = _account(session, turn, first)
    prompts = list(map(prompt_from_row, iterate_as(pool.path(POOL), PromptRow)))
    compared = (candidate, previous, evaluation)
    return _run(_Test(session, number, turn, *compared, pool, account, prompts, first))


def _turn(
    config: CampaignConfig, number: int, attempt: int, evaluation: Artifact, first: int
) -> Turn:
    """Another threshold or level is another test: who changes it may have seen this one."""
    gate, numbers = config.gate, evaluation.hash("evaluation.json")
    level = (gate.threshold, gate.false_promotions, max_prompts(config, first))
    identity = digest(number, attempt, numbers, *level)
    return Turn(number, attempt, identity, numbers, _hash_declared(config))


def _account(session: Session, turn: Turn, first: int) -> Account:
    origin = read_origin(session.store.layout)
    inherited = origin.certified if origin is not None else None
    left_after = origin.round if origin is not None else 0
    return account_before(session.store.entries, turn, first, inherited, left_after)


def _hash_declared(config: CampaignConfig) -> str:
    """Hash of all that decides which candidates follow a rejection, and how they are compared."""
    functions = {
        **judges_functions(config.judge),
        **judges_functions(config.held_out_judge),
        **pool_functions(config.prompts),
        **loss_functions(config.training.loss),
    }
    return digest(config.model_dump(mode="json", exclude=_STEERS_NO_CANDIDATE), functions)


def _run(test: _Test) -> CertificateResult:
    pool, first, start = test.prompts, test.first, test.account.start
    if start and len(pool) - start < first:
        if test.config.gate.when_used_up == "gate_set":
            return _run_on_set(test)
        facts = CertificateFacts(certified=False, passed=False, start=start, prompts=0)
        return _record(test, facts)
    most = min(start + max_prompts(test.config, first), len(pool))
    steps: dict[str, Artifact | None] = {}
    rows: list[OutcomeRow] = []
    end, threshold = start, test.config.gate.threshold
    while True:
        block = range(end, min(end + first, most))
        if block.start == 0:
            rows += _read_evaluated(test)
        else:
            batch = _Batch(f"gate_{block.start}", pool[block.start : block.stop], block.stop)
            compared = _compare(test, batch)
            rows += _read_outcomes(compared[f"evaluation_{batch.name}"])
            steps |= compared
        end = block.stop
        samples = test.config.evaluation.samples_per_prompt
        units = complete_units(pool, range(start, end), rows, samples, test.config.prompts)
        outcome = evidence(units, threshold)
        if end >= most or outcome.promotes(test.alpha) or cannot_win(units, threshold):
            return _certify(test, outcome, units, steps, range(start, end))


def _run_on_set(test: _Test) -> CertificateResult:
    """Test on the first gate prompts, used or not, with answers from seeds of its own: the test
    holds for the mean over these prompts."""
    batch = _Batch("gate_set", test.prompts[: test.first], 0, test.turn.id)
    steps = _compare(test, batch)
    rows = _read_outcomes(steps[f"evaluation_{batch.name}"])
    samples = test.config.evaluation.samples_per_prompt
    apart = test.config.prompts.model_copy(update={"split_by": "prompt"})
    units = complete_units(test.prompts, range(test.first), rows, samples, apart)
    outcome = evidence_on_set(units, test.config.gate.threshold)
    return _certify(test, outcome, units, steps, range(test.first), "gate_set")


def _read_outcomes(compared: Artifact) -> Iterator[OutcomeRow]:
    return iterate_as(compared.path("outcomes.parquet"), OutcomeRow)


def _read_evaluated(test: _Test) -> list[OutcomeRow]:
    """Outcomes on the evaluation's gate prompts, which are the first of the pool."""
    rows = _read_outcomes(test.evaluation)
    return [r for r in rows if (r["opponent"], r["split"]) == ("previous", "gate")]


def _compare(test: _Test, batch: _Batch) -> dict[str, Artifact]:
    """The steps, by name, in which both policies answer gate prompts and the judge compares."""
    name, session, judge = batch.name, test.session, test.config.held_out_judge
    look = {LOOKED: batch.to, "turn": test.turn.id}
    mine = _answer(test, test.candidate.policy, batch, f"answers_{name}")
    other = _answer(test, test.previous.policy, batch, f"answers_{name}_before")

    def make(folder: Path, inputs: Inputs) -> StepResult:
        read = partial(read_answers, inputs, same_judge=True)
        ours = read("candidate", mine.round, prompts="candidate_prompts")
        theirs = read("previous", other.round, prompts="previous_prompts")
        match = play_match(session, judge, ours, theirs)
        rows = list(iterate_outcomes({"previous": match}))
        write_rows(folder / "outcomes.parquet", rows, OUTCOMES)
        unreadable = sum(row["outcome"] is None for row in rows)
        return StepResult(
            len(rows),
            len(rows) - unreadable,
            {"unreadable": unreadable} if unreadable else {},
            LookFacts.read({**look, **session.judges.take_seconds()}),
            dict(session.judges.versions),
        )

    compared = session.step(
        test.number,
        f"evaluation_{name}",
        make,
        config={**judge_config(judge), **look},
        inputs={
            **mine.inputs("candidate"),
            **other.inputs("previous"),
            "candidate_prompts": mine.answers.input(POOL),
            "previous_prompts": other.answers.input(POOL),
            **judge_model_inputs(session, judge),
        },
        functions=judges_functions(judge),
    )
    return {
        **mine.steps(f"answers_{name}"),
        **other.steps(f"answers_{name}_before"),
        f"evaluation_{name}": compared,
    }


def _answer(test: _Test, policy: Policy, batch: _Batch, step: str) -> Answers:
    """A policy's answers, in one step with their prompts, and their scores if a judge scores."""
    session, evaluation = test.session, test.config.evaluation
    # The same seed for both policies: they differ by their weights alone.
    afresh = () if batch.afresh is None else (batch.afresh,)
    samples = Samples(evaluation.samples_per_prompt, session.seed("answers", *afresh))

    def make(folder: Path, inputs: Inputs) -> StepResult:
        write_rows(folder / POOL, map(prompt_row, batch.prompts), PROMPTS)
        weights = inputs.path("policy")
        return write_completions(session, policy.id, weights, folder / POOL, folder, samples)

    answers = session.step(
        test.number,
        step,
        make,
        config={
            **sampling_config(session.config.sampling, samples),
            "prompts": digest([prompt.prompt_id for prompt in batch.prompts]),
        },
        inputs={"policy": policy.input, "pool": test.pool.input(POOL)},
    )
    judge = test.config.held_out_judge
    scores = score(session, test.number, answers, answers, judge, f"{step}_scores")
    return Answers(policy.round, answers, scores)


def _certify(
    test: _Test,
    outcome: Evidence,
    units: Sequence[float],
    steps: Mapping[str, Artifact | None],
    used: range,
    about: Literal["pool", "gate_set"] = "pool",
) -> CertificateResult:
    """used: places of the prompts in the pool."""
    facts = CertificateFacts(
        certified=True,
        passed=outcome.promotes(test.alpha),
        log_e=outcome.log_e,
        needed=-log(test.alpha),
        alpha=test.alpha,
        win_rate=sum(units) / len(units) if units else None,
        about=about,
        start=used.start,
        prompts=len(used),
        units=outcome.units,
        reached_at=outcome.reached_at,
        decision=test.account.decisions + 1,
        planned=test.account.planned or planned_decisions(test.config),
    )
    return _record(test, facts, units, steps)


def _record(
    test: _Test,
    facts: CertificateFacts,
    units: Sequence[float] = (),
    steps: Mapping[str, Artifact | None] = MappingProxyType({}),
) -> CertificateResult:
    """Step `certificate`, which depends on the steps that compared."""
    of_turn = {
        "false_promotions": test.config.gate.false_promotions,
        "pool": len(test.prompts),
        "attempt": test.turn.attempt,
        "turn": test.turn.id,
        "declared": test.turn.declared,
    }
    facts = facts.model_copy(update=of_turn)

    def make(folder: Path, _: Inputs) -> StepResult:
        write_json(folder / "certificate.json", {**facts.as_json(), "outcomes": list(units)})
        return StepResult(len(units), len(units), facts=facts)

    # What was declared is a fact of that time: a later change of the config changes no test.
    config = {key: value for key, value in facts.as_json().items() if key != "declared"}
    inputs = {
        name: step.input("outcomes.parquet")
        for name, step in steps.items()
        if step is not None and name.startswith("evaluation")
    }
    inputs["evaluation"] = Input(test.turn.evaluation)
    made = test.session.step(test.number, CERTIFICATE, make, config=config, inputs=inputs)
    return CertificateResult(made, steps)
