"""Held-out answers of a policy, and steps `suite_<name>` and `suite_<name>_scores`: its answers to
each regression suite, with the same seeds in every round, scored by the suite's rule or task."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs, input_gone
from dpo_core.errors import PromptError
from dpo_core.hashing import content_id, digest
from dpo_core.records import Prompt, PromptRow, prompt_from_row, prompt_row
from dpo_core.schemas import COMPLETIONS, PROMPTS, CompletionRow, ContinuationRow, LikelihoodRow
from dpo_core.special_tokens import read_special_tokens
from dpo_core.tables import iterate_as, write_rows
from flows.config.evaluation import HarnessSuite, SuiteConfig
from flows.evaluation.judging import scores_with_training_judge
from flows.harness.suite_task import ScoreDocuments, WriteRequests, WriteTexts
from flows.round_state import EvaluatedPolicy, Policy, SuiteAnswers
from flows.session import Session
from flows.steps.sample import Samples, answer_file, sampling_config, write_completions
from flows.steps.score import score
from generation.config import PromptsConfig
from generation.jobs import CompletionsFacts, ContinuationsJob
from generation.prompts import read_pool

_LIKELIHOODS = "likelihoods.parquet"
_CHOSEN = "chosen"
"""Finish reason of an answer that is the likeliest of given texts, not sampled."""


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


def answer_task(
    session: Session, number: int, name: str, suite: HarnessSuite, policy: Policy
) -> SuiteAnswers:
    """The policy's answers to the task's documents, each with the task's own score."""
    answers = _answer_task(session, number, name, suite, policy)
    return SuiteAnswers(answers, _score_task(session, number, name, suite, answers))


def task_prompts(session: Session, name: str, suite: HarnessSuite) -> list[Prompt]:
    """The questions of the task's documents, as texts and as chats. Raises InputGone."""
    if not Path(suite.data).is_dir():
        raise input_gone("suites", Path(suite.data))
    with TemporaryDirectory() as folder:
        out = Path(folder) / "prompts.parquet"
        session.processes.ask_harness(WriteTexts(name=name, config=suite, out=out))
        return list(map(prompt_from_row, iterate_as(out, PromptRow)))


def data_input(session: Session, suite: HarnessSuite) -> Input:
    """The folder with the task's data, known by the contents of its files."""
    folder = Path(suite.data)
    if not folder.is_dir():
        return Input.of_gone(folder)
    files = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file()}
    visible = {k: p for k, p in files.items() if not any(part.startswith(".") for part in k.parts)}
    contents = {str(key): session.file_hashes(path) for key, path in visible.items()}
    return Input(digest("data", contents), folder)


def _answer_task(
    session: Session, number: int, name: str, suite: HarnessSuite, policy: Policy
) -> Artifact:
    # The same seed in every round: policies differ by their weights alone.
    samples = Samples(1, session.seed("suite", name))

    def make(folder: Path, inputs: Inputs) -> StepResult:
        inputs.path("data")  # raises where it is gone
        chat = read_special_tokens(inputs.path("policy")).template is not None
        job = WriteRequests(name=name, config=suite, chat=chat, folder=folder)
        asked = session.processes.ask_harness(job)
        prompts = folder / "prompts.parquet"
        if asked.decoding is not None:
            how, weights = (samples, asked.decoding), inputs.path("policy")
            result = write_completions(session, policy.id, weights, prompts, folder, *how)
        else:
            result = _write_likeliest(session, policy, inputs, folder, asked.documents)
        if not result.kept:
            raise PromptError(
                f"evaluation.suites.{name}: no document of {suite.harness} fits into the policy's "
                "context together with its answer",
                f"Lower evaluation.suites.{name}.max_tokens, or raise sampling.max_model_len.",
            )
        facts = CompletionsFacts.read({**result.recorded_facts, "chat": chat})
        versions = {**result.versions, **asked.versions}
        return replace(result, facts=facts, versions=versions)

    sampling = session.config.sampling
    config = {
        "harness": suite.harness,
        "limit": suite.limit,
        "max_tokens": suite.max_tokens,
        "sampling": sampling.model_dump(mode="json", include={"engine", "dtype", "max_model_len"}),
        "seed": samples.seed,
    }
    inputs = {"policy": policy.input, "data": data_input(session, suite)}
    return session.step(number, f"suite_{name}", make, config=config, inputs=inputs)


def _write_likeliest(
    session: Session, policy: Policy, inputs: Inputs, folder: Path, documents: int
) -> StepResult:
    """Write the likeliest of each document's texts as the policy's answer."""
    likelihoods = folder / _LIKELIHOODS
    job = ContinuationsJob(
        policy=inputs.path("policy"),
        config=session.config.sampling,
        source=folder / "continuations.parquet",
        out=likelihoods,
    )
    result = session.sample(job)
    given = iterate_as(folder / "continuations.parquet", ContinuationRow)
    scored = {row["continuation_id"]: row for row in iterate_as(likelihoods, LikelihoodRow)}
    rows = _choose_likeliest(given, scored, policy.id)
    kept = write_rows(folder / "completions.parquet", rows, COMPLETIONS)
    dropped = {"prompt_too_long": documents - kept} if kept < documents else {}
    facts = CompletionsFacts.read(result.as_json())
    return StepResult(documents, kept, dropped, facts, result.versions)


def _choose_likeliest(
    given: Iterable[ContinuationRow], scored: Mapping[str, LikelihoodRow], policy: str
) -> Iterator[CompletionRow]:
    """A row of COMPLETIONS for each document whose texts all have a likelihood."""
    by_document: dict[str, list[ContinuationRow]] = defaultdict(list)
    for row in given:
        by_document[row["prompt_id"]].append(row)
    for document, texts in by_document.items():
        if not all(row["continuation_id"] in scored for row in texts):
            continue
        after_prompts = [row for row in texts if row["prompt"] != ""] or texts
        best = max(after_prompts, key=lambda row: scored[row["continuation_id"]]["logp"])
        tokens = scored[best["continuation_id"]]
        yield {
            "completion_id": content_id(document, policy, 0, tokens["token_ids"]),
            "prompt_id": document,
            "sample_index": 0,
            "text": best["continuation"],
            "prompt_token_ids": tokens["prompt_token_ids"],
            "token_ids": tokens["token_ids"],
            "token_logps": [],
            "finish_reason": _CHOSEN,
            "seed": 0,
            "policy": policy,
        }


def _score_task(
    session: Session, number: int, name: str, suite: HarnessSuite, answers: Artifact
) -> Artifact:
    chat = answers.facts(CompletionsFacts).chat

    def make(folder: Path, inputs: Inputs) -> StepResult:
        inputs.path("data")  # raises where it is gone
        job = ScoreDocuments(
            name=name,
            config=suite,
            chat=chat,
            answers=inputs.path("answers"),
            likelihoods=inputs.find("likelihoods"),
            out=folder / "scores.parquet",
        )
        result = session.processes.ask_harness(job)
        dropped = {"abstained": result.abstained} if result.abstained else {}
        kept = result.scored - result.abstained
        return StepResult(result.scored, kept, dropped, versions=result.versions)

    inputs = {"answers": answers.input("completions.parquet"), "data": data_input(session, suite)}
    if _LIKELIHOODS in answers.entry.outputs:
        inputs["likelihoods"] = answers.input(_LIKELIHOODS)
    config = suite.model_dump(include={"harness", "limit", "metric"}) | {"chat": chat}
    return session.step(number, f"suite_{name}_scores", make, config=config, inputs=inputs)
