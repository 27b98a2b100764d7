"""A suite's task of lm-evaluation-harness, as the process that runs it gets it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.errors import ConfigError
from flows.config.evaluation import HarnessSuite


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
