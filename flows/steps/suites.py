"""Held-out answers of a policy, and steps `suite_<name>` and `suite_<name>_scores`: its answers to
each regression suite, with the same seeds in every round, scored by the suite's rule."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs, input_gone
from dpo_core.errors import PromptError
from dpo_core.records import Prompt, prompt_row
from dpo_core.schemas import PROMPTS
from dpo_core.tables import write_rows
from flows.config.evaluation import HarnessSuite, SuiteConfig
from flows.evaluation.judging import scores_with_training_judge
from flows.round_state import EvaluatedPolicy, Policy, SuiteAnswers
from flows.session import Session
from flows.steps.harness_suites import answer_task, data_input, task_prompts
from flows.steps.sample import Samples, answer_file, sampling_config, write_completions
from flows.steps.score import score
from generation.config import PromptsConfig
from generation.prompts import read_pool


def answer_suites(session: Session, number: int, policy: Policy) -> dict[str, SuiteAnswers]:
    """The policy's answers to every suite, scored."""
    answered = {}
    for name, suite in session.config.evaluation.suites.items():
        if isinstance(suite, HarnessSuite):
            answered[name] = answer_task(session, number, name, suite, policy)
            continue
        answers = _answers(session, number, name, suite, policy)
        scores = score(session, number, answers, answers, suite.judge, f"suite_{name}_scores")
        assert scores is not None, "the config rejects a judge that gives no scores"
        answered[name] = SuiteAnswers(answers, scores)
    return answered


def suite_prompts(session: Session) -> Mapping[str, Prompt]:
    """prompt_id → prompt of all suites, which must not be trained on. Raises InputGone."""
    evaluation = session.config.evaluation
    prompts: dict[str, Prompt] = {}
    for suite in evaluation.own_suites.values():
        if not Path(suite.prompts).is_file():
            raise input_gone("suites", Path(suite.prompts))
        prompts |= {prompt.prompt_id: prompt for prompt in _prompts(suite)}
    for name, task in evaluation.harness_suites.items():
        prompts |= {prompt.prompt_id: prompt for prompt in task_prompts(session, name, task)}
    return prompts


def suite_files(session: Session) -> dict[str, Input]:
    """suite/<name> → its file or folder, for steps that read the prompts."""
    evaluation = session.config.evaluation
    own = {n: session.file_input(Path(s.prompts)) for n, s in evaluation.own_suites.items()}
    tasks = {n: data_input(session, task) for n, task in evaluation.harness_suites.items()}
    return {f"suite/{name}": {**own, **tasks}[name] for name in evaluation.suites}


def _answers(
    session: Session, number: int, name: str, suite: SuiteConfig, policy: Policy
) -> Artifact:
    # The same seed in every round: policies differ by their weights alone.
    seed = session.seed("suite", name)
    samples = Samples(session.config.evaluation.samples_per_prompt, seed)

    def make(folder: Path, inputs: Inputs) -> StepResult:
        inputs.path("prompts")  # raises where the file is gone
        prompts = folder / "prompts.parquet"
        if not write_rows(prompts, map(prompt_row, _prompts(suite)), PROMPTS):
            raise PromptError(
                f"evaluation.suites.{name}: {suite.prompts} holds no prompts",
                "Write some, or remove the suite.",
            )
        weights = inputs.path("policy")
        return write_completions(session, policy.id, weights, prompts, folder, samples)

    return session.step(
        number,
        f"suite_{name}",
        make,
        config={**sampling_config(session.config.sampling, samples), "field": suite.field},
        inputs={"policy": policy.input, "prompts": session.file_input(Path(suite.prompts))},
    )


def _prompts(suite: SuiteConfig) -> Iterator[Prompt]:
    """Each prompt once, as a test prompt whatever split its hash would give."""
    seen = set()
    for prompt in read_pool(PromptsConfig(path=suite.prompts, field=suite.field)):
        if prompt.prompt_id not in seen:
            seen.add(prompt.prompt_id)
            yield replace(prompt, split="test")


def answer_held_out(
    session: Session, number: int, policy: Policy, base: Policy, held_out: Artifact
) -> EvaluatedPolicy:
    """The policy's answers to held-out prompts and regression suites, scored by pointwise judges.

    base: the campaign's, or `policy` itself.
    """
    config = session.config
    # The same seed in every round: policies differ by their weights alone.
    samples = Samples(config.evaluation.samples_per_prompt, session.seed("answers"))
    answers = answer_file(session, number, "answers", policy, held_out, samples)
    scores = score(session, number, answers, held_out, config.held_out_judge, "answer_scores")
    training_scores = None
    if scores_with_training_judge(config):
        step = "answer_training_scores"
        training_scores = score(session, number, answers, held_out, config.judge, step, base)
    suites = answer_suites(session, number, policy)
    return EvaluatedPolicy(policy, answers, scores, training_scores, suites)
