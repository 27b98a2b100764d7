"""What is asked of a task of lm-evaluation-harness, and how it is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.errors import ConfigError
from flows.config.evaluation import HarnessSuite


@dataclass(frozen=True)
class TaskRequest:
    """The suite `suite` of a config; `chat`: its prompts are chats."""

    suite: str
    task: str
    data: Path
    limit: int | None
    metric: str | None
    max_tokens: int | None
    chat: bool = False

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> "TaskRequest":
        config = HarnessSuite.model_validate(request["config"])
        return cls(
            suite=request["suite"],
            task=config.harness,
            data=Path(config.data),
            limit=config.limit,
            metric=config.metric,
            max_tokens=config.max_tokens,
            chat=request.get("chat", False),
        )

    @property
    def key(self) -> str:
        return f"evaluation.suites.{self.suite}"

    def refuse(self, why: str, remedy: str, key: str = "harness") -> ConfigError:
        """The error that says why the task cannot be a suite."""
        return ConfigError(f"{self.key}.{key}: {why}", remedy)


def write_request(suite: str, config: HarnessSuite, *, chat: bool = False) -> dict[str, Any]:
    """As `AskedTask.read` reads it, in another process."""
    return {"suite": suite, "config": config.model_dump(mode="json"), "chat": chat}
