"""A suite's task of lm-evaluation-harness, as the process that runs it gets it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dpo_core.children import Child
from dpo_core.errors import ConfigError
from flows.config.evaluation import HarnessSuite
from flows.harness.offline import ENVIRONMENT


@dataclass(frozen=True)
class SuiteTask:
    """The suite `name` of a config. chat: its prompts are chats."""

    name: str
    config: HarnessSuite
    chat: bool = False

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> "SuiteTask":
        config = HarnessSuite.model_validate(request["config"])
        return cls(request["suite"], config, request.get("chat", False))

    @property
    def task(self) -> str:
        return self.config.harness

    @property
    def data(self) -> Path:
        return Path(self.config.data)

    def reject(self, why: str, remedy: str, key: str = "harness") -> ConfigError:
        """The error that says why the task cannot be a suite."""
        return ConfigError(f"evaluation.suites.{self.name}.{key}: {why}", remedy)


def write_request(suite: str, config: HarnessSuite, *, chat: bool = False) -> dict[str, Any]:
    """The request that `SuiteTask.read` reads in another process."""
    return {"suite": suite, "config": config.model_dump(mode="json"), "chat": chat}


def check_task(name: str, suite: HarnessSuite, length: int | None) -> str:
    """A description of the suite. Raises BadInput for a task that cannot be one.

    length: the policy's context in tokens, if known.
    """
    with TemporaryDirectory() as folder:
        log = Path(folder) / "harness.log"
        with Child.start("flows.harness.worker", log, ENVIRONMENT) as child:
            checked = child.ask({**write_request(name, suite), "op": "check"})
    if length is not None and checked["max_tokens"] >= length:
        key = f"evaluation.suites.{name}"
        raise ConfigError(
            f"{key}: answers of up to {checked['max_tokens']} tokens, as {suite.harness} asks for, "
            f"leave no room for prompts in a context of {length}",
            f"Set {key}.max_tokens to {length // 2} or another number below that, or raise "
            "sampling.max_model_len.",
        )
    return f"{checked['documents']} documents of {suite.harness}, scored by {checked['score']}"
