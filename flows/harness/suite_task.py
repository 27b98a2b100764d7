"""A suite's task of lm-evaluation-harness, and the jobs of the process that runs it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from dpo_core.children import Child
from dpo_core.errors import ConfigError
from dpo_core.jobs import ChildJob, JobResult, Kinds, Result, job_kinds
from flows.config.evaluation import HarnessSuite
from flows.harness.offline import ENVIRONMENT
from generation.engine import DecodingOptions


class SuiteTask(ChildJob[Result]):
    """A job about the task of the suite `name`, whose data it reads again. chat: the suite's
    prompts are chats."""

    name: str
    config: HarnessSuite
    chat: bool = False

    @property
    def task(self) -> str:
        return self.config.harness

    @property
    def data(self) -> Path:
        return Path(self.config.data)

    def reject(self, why: str, remedy: str, key: str = "harness") -> ConfigError:
        """The error that says why the task cannot be a suite."""
        return ConfigError(f"evaluation.suites.{self.name}.{key}: {why}", remedy)


class TaskChecked(JobResult):
    """score: metric and filter. max_tokens: of an answer; 0 where likelihoods are measured."""

    documents: int = 0
    score: str = ""
    max_tokens: int = 0


class CheckTask(SuiteTask[TaskChecked]):
    """Check whether the task can be a suite."""

    op: Literal["check"] = "check"


class WriteTexts(SuiteTask[JobResult]):
    """Write the documents' own questions (schema PROMPTS)."""

    op: Literal["texts"] = "texts"
    out: Path


class RequestsWritten(JobResult):
    """decoding: of the answers; None where likelihoods are measured."""

    documents: int = 0
    decoding: DecodingOptions | None = None


class WriteRequests(SuiteTask[RequestsWritten]):
    """Write prompts.parquet, one prompt per document, and for likelihoods continuations.parquet."""

    op: Literal["requests"] = "requests"
    folder: Path


class TaskScored(JobResult):
    """How many documents were scored, those without a score among them."""

    scored: int = 0
    abstained: int = 0


class ScoreDocuments(SuiteTask[TaskScored]):
    """Write the scores (schema SCORES) of answers, or of texts with likelihoods."""

    op: Literal["score"] = "score"
    answers: Path
    likelihoods: Path | None
    out: Path


HarnessJob = CheckTask | WriteTexts | WriteRequests | ScoreDocuments
AnyTask = SuiteTask[JobResult]

JOBS: Kinds[HarnessJob] = job_kinds(CheckTask, WriteTexts, WriteRequests, ScoreDocuments)


def check_task(name: str, suite: HarnessSuite, length: int | None) -> str:
    """A description of the suite. Raises BadInput for a task that cannot be one.

    length: the policy's context in tokens, if known.
    """
    with TemporaryDirectory() as folder:
        log = Path(folder) / "harness.log"
        with Child.start("flows.harness.worker", log, ENVIRONMENT) as child:
            checked = child.carry_out(CheckTask(name=name, config=suite))
    if length is not None and checked.max_tokens >= length:
        key = f"evaluation.suites.{name}"
        raise ConfigError(
            f"{key}: answers of up to {checked.max_tokens} tokens, as {suite.harness} asks for, "
            f"leave no room for prompts in a context of {length}",
            f"Set {key}.max_tokens to {length // 2} or another number below that, or raise "
            "sampling.max_model_len.",
        )
    return f"{checked.documents} documents of {suite.harness}, scored by {checked.score}"
