"""Steps `suite_<name>` and `suite_<name>_scores`: a policy answers the prompts of each regression
suite, with the same seeds in every round, and the suite's rule scores the answers."""

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
from flows.steps.sample import Samples, answer_file, answered, sampling_config
from flows.steps.score import score
from generation.config import PromptsConfig
from generation.prompts import read_pool


def answer_suites(session: Session, number: int, policy: Policy) -> dict[str, SuiteAnswers]:
    """The policy's answers to every suite, scored."""
    found = {}
    for name, suite in session.config.evaluation.suites.items():
        if isinstance(suite, HarnessSuite):
            found[name] = answer_task(session, number, name, suite, policy)
            continue
        answers = _answers(session, number, name, suite, policy)
        scores = score(session, number, answers, answers, suite.judge, f"suite_{name}_scores")
        assert scores is not None, "the config refuses a judge that gives no scores"
        found[name] = SuiteAnswers(answers, scores)
    return found


def suite_prompts(session: Session) -> Mapping[str, Prompt]:
    """prompt_id → prompt of all suites: they are not to be trained on. Raises InputGone."""
    evaluation = session.config.evaluation
    found: dict[str, Prompt] = {}
    for suite in evaluation.own_suites.values():
        if not Path(suite.prompts).is_file():
            raise input_gone("suites", Path(suite.prompts))
        found |= {prompt.prompt_id: prompt for prompt in _prompts(suite)}
    for name, task in evaluation.harness_suites.items():
        found |= {prompt.prompt_id: prompt for prompt in task_prompts(session, name, task)}
    return found


def suite_files(session: Session) -> dict[str, Input]:
    """suite/<name> → its file or folder, for steps that look at the prompts."""
    evaluation = session.config.evaluation
    own = {n: session.file_input(Path(s.prompts)) for n, s in evaluation.own_suites.items()}
    tasks = {n: data_input(session, task) for n, task in evaluation.harness_suites.items()}
    return {f"suite/{name}": {**own, **tasks}[name] for name in evaluation.suites}


def _answers(
    session: Session, number: int, name: str, suite: SuiteConfig, policy: Policy
) -> Artifact:
    # The seed knows no round: policies differ by their weights alone.
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
        return answered(session, policy, inputs, prompts, folder, samples)

    return session.step(
        number,
        f"suite_{name}",
        make,
        config={**sampling_config(session.config.sampling, samples), "field": suite.field},
        inputs={"policy": policy.input, "prompts": session.file_input(Path(suite.prompts))},
    )


def _prompts(suite: SuiteConfig) -> Iterator[Prompt]:
    """Each prompt once; all of them are tests, whatever split their hash would give them."""
    seen = set()
    for prompt in read_pool(PromptsConfig(path=suite.prompts, field=suite.field)):
        if prompt.prompt_id not in seen:
            seen.add(prompt.prompt_id)
            yield replace(prompt, split="test")


def answer_held_out(
    session: Session, number: int, policy: Policy, base: Policy, held_out: Artifact
) -> EvaluatedPolicy:
    """The policy's held-out answers and, with pointwise judges, their scores; and its answers to
    the regression suites. base: the campaign's, or `policy` itself."""
    config = session.config
    # The seed knows no round: policies differ by their weights alone.
    samples = Samples(config.evaluation.samples_per_prompt, session.seed("answers"))
    answers = answer_file(session, number, "answers", policy, held_out, samples)
    scores = score(session, number, answers, held_out, config.held_out_judge, "answer_scores")
    training_scores = None
    if scores_with_training_judge(config):
        step = "answer_training_scores"
        training_scores = score(session, number, answers, held_out, config.judge, step, base)
    suites = answer_suites(session, number, policy)
    return EvaluatedPolicy(policy, answers, scores, training_scores, suites)
