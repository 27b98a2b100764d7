"""Steps of a suite that is a task of lm-evaluation-harness: `suite_<name>`, the policy's answers or
the likelihoods of given texts, and `suite_<name>_scores`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs, input_gone
from dpo_core.errors import PromptError
from dpo_core.hashing import content_id, digest
from dpo_core.records import Prompt, prompt_from_row
from dpo_core.schemas import COMPLETIONS
from dpo_core.special_tokens import read_special_tokens
from dpo_core.tables import iterate_rows, read_rows, write_rows
from flows.config.evaluation import HarnessSuite
from flows.harness.suite_task import write_request
from flows.round_state import Policy, SuiteAnswers
from flows.session import Session
from flows.steps.sample import Samples, write_completions

_LIKELIHOODS = "likelihoods.parquet"
_CHOSEN = "chosen"
"""Finish reason of an answer that is the likeliest of given texts, not sampled."""


def answer_task(
    session: Session, number: int, name: str, suite: HarnessSuite, policy: Policy
) -> SuiteAnswers:
    """The policy's answers to the task's documents, each with the task's own score."""
    answers = _answers(session, number, name, suite, policy)
    return SuiteAnswers(answers, _scores(session, number, name, suite, answers))


def task_prompts(session: Session, name: str, suite: HarnessSuite) -> list[Prompt]:
    """The questions of the task's documents, as texts and as chats. Raises InputGone."""
    if not Path(suite.data).is_dir():
        raise input_gone("suites", Path(suite.data))
    with TemporaryDirectory() as folder:
        out = Path(folder) / "prompts.parquet"
        session.processes.ask_harness(
            {**write_request(name, suite), "op": "texts", "out": str(out)}
        )
        return [prompt_from_row(row) for row in iterate_rows(out)]


def data_input(session: Session, suite: HarnessSuite) -> Input:
    """The folder with the task's data, known by the contents of its files."""
    folder = Path(suite.data)
    if not folder.is_dir():
        return Input.of_gone(folder)
    files = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file()}
    visible = {k: p for k, p in files.items() if not any(part.startswith(".") for part in k.parts)}
    contents = {str(key): session.file_hashes(path) for key, path in visible.items()}
    return Input(digest("data", contents), folder)


def _answers(
    session: Session, number: int, name: str, suite: HarnessSuite, policy: Policy
) -> Artifact:
    # The same seed in every round: policies differ by their weights alone.
    samples = Samples(1, session.seed("suite", name))

    def make(folder: Path, inputs: Inputs) -> StepResult:
        inputs.path("data")  # raises where it is gone
        chat = read_special_tokens(inputs.path("policy")).template is not None
        request = {**write_request(name, suite, chat=chat), "op": "requests", "folder": str(folder)}
        asked = session.processes.ask_harness(request)
        prompts = folder / "prompts.parquet"
        if "decoding" in asked:
            how, weights = (samples, asked["decoding"]), inputs.path("policy")
            result = write_completions(session, policy.id, weights, prompts, folder, *how)
        else:
            result = _write_likeliest(session, policy, inputs, folder, asked["documents"])
        if not result.kept:
            raise PromptError(
                f"evaluation.suites.{name}: no document of {suite.harness} fits into the policy's "
                "context together with its answer",
                f"Lower evaluation.suites.{name}.max_tokens, or raise sampling.max_model_len.",
            )
        facts, versions = {**result.facts, "chat": chat}, {**result.versions, **asked["versions"]}
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
    result = session.sample(
        {
            "op": "continuations",
            "policy": str(inputs.path("policy")),
            "policy_id": policy.id,
            "continuations": str(folder / "continuations.parquet"),
            "out": str(likelihoods),
        }
    )
    given = read_rows(folder / "continuations.parquet")
    scored = {row["continuation_id"]: row for row in read_rows(likelihoods)}
    rows = _choose_likeliest(given, scored, policy.id)
    kept = write_rows(folder / "completions.parquet", rows, COMPLETIONS)
    dropped = {"prompt_too_long": documents - kept} if kept < documents else {}
    return StepResult(documents, kept, dropped, result, result.pop("versions"))


def _choose_likeliest(
    given: list[dict[str, Any]], scored: Mapping[str, dict[str, Any]], policy: str
) -> Iterator[dict[str, Any]]:
    """A row of COMPLETIONS for each document whose texts all have a likelihood."""
    by_document = defaultdict(list)
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


def _scores(
    session: Session, number: int, name: str, suite: HarnessSuite, answers: Artifact
) -> Artifact:
    chat = answers.entry.facts["chat"]

    def make(folder: Path, inputs: Inputs) -> StepResult:
        inputs.path("data")  # raises where it is gone
        likelihoods = inputs.find("likelihoods")
        result = session.processes.ask_harness(
            {
                **write_request(name, suite, chat=chat),
                "op": "score",
                "answers": str(inputs.path("answers")),
                "likelihoods": str(likelihoods) if likelihoods is not None else None,
                "out": str(folder / "scores.parquet"),
            }
        )
        count, abstained = result["scored"], result["abstained"]
        dropped = {"abstained": abstained} if abstained else {}
        return StepResult(count, count - abstained, dropped, versions=result["versions"])

    inputs = {"answers": answers.input("completions.parquet"), "data": data_input(session, suite)}
    if _LIKELIHOODS in answers.entry.outputs:
        inputs["likelihoods"] = answers.input(_LIKELIHOODS)
    config = suite.model_dump(include={"harness", "limit", "metric"}) | {"chat": chat}
    return session.step(number, f"suite_{name}_scores", make, config=config, inputs=inputs)
