"""The judge that a section of the config names."""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dpo_core.errors import ConfigError
from dpo_core.import_path import load_function, source_hash
from dpo_core.records import Completion, Score
from labeling.judges.config import (
    STEERS_NO_ANSWER,
    AnyJudgeConfig,
    Judge,
    LlmJudge,
    RewardModelJudge,
    RuleJudge,
    machines,
)
from labeling.judges.endpoint import endpoint_key
from labeling.judges.llm import LlmScores, LlmVerdicts
from labeling.judges.models import Models
from labeling.judges.protocol import PairwiseJudge, PointwiseJudge
from labeling.judges.rubric import load_rubric
from labeling.judges.rules import RuleScores, RuleVerdicts


def pointwise_judge(config: Judge, models: Models) -> PointwiseJudge | None:
    """The judge that scores completions, or None when the configured one reads pairs."""
    if isinstance(config, RewardModelJudge):
        return RewardScores(config, models)
    if isinstance(config, RuleJudge) and config.gives == "score":
        return RuleScores(config.function, config.source)
    if isinstance(config, LlmJudge) and config.gives == "score":
        return LlmScores(config, models)
    return None


def pairwise_judge(config: Judge, models: Models) -> PairwiseJudge | None:
    """The judge that reads pairs, or None when the configured one scores completions."""
    if isinstance(config, RuleJudge) and config.gives == "verdict":
        return RuleVerdicts(config.function, config.source)
    if isinstance(config, LlmJudge) and config.gives == "verdict":
        return LlmVerdicts(config, models)
    return None


def judge_functions(config: Judge) -> Mapping[str, str]:
    """Code and texts of users that the judge's answers depend on: name → hash."""
    if isinstance(config, RuleJudge):
        return {config.function: source_hash(config.function)}
    if isinstance(config, LlmJudge):
        return {f"rubric of {config.source}": load_rubric(config).fingerprint}
    return {}


def judge_answers_by(config: Judge) -> dict[str, Any]:
    """The fields of the section that the judge's answers depend on."""
    found = config.model_dump(mode="json", exclude=set(STEERS_NO_ANSWER))
    if found.get("relevance") is None:  # as before there was such a field
        found.pop("relevance", None)
    return found


def check_judge(config: Judge) -> None:
    """Raise ConfigError for a judge that cannot work: its function, rubric, key or model."""
    if isinstance(config, RuleJudge):
        load_function(config.function)
    if isinstance(config, LlmJudge):
        load_rubric(config)
        if config.needs_key:
            endpoint_key(config)
        if config.endpoint is not None:
            _check_library("openai", "pip install 'ratchet-dpo[labeling]'")
    if isinstance(config, RewardModelJudge) or (
        isinstance(config, LlmJudge) and config.endpoint is None
    ):
        _check_library("vllm", "pip install 'ratchet-dpo[gpu]', or judge behind an endpoint")
        _check_model(config)


def _check_library(name: str, remedy: str) -> None:
    if find_spec(name) is None:
        raise ConfigError(f"judge: this kind of judge needs {name}, which is not here", remedy)


def _check_model(config: RewardModelJudge | LlmJudge) -> None:
    """What can be said of a model without loading it; one on the hub is not looked at."""
    folder = Path(config.model)
    if not folder.is_dir():
        if config.model.startswith(("/", ".", "~")):
            raise ConfigError(
                f"judge.model: there is no folder {config.model}",
                "Give the folder of a model, or its name on the hub.",
            )
        return
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"judge.model: {folder} holds no model: {error}", "It is made by save_pretrained."
        ) from None
    if isinstance(config, RewardModelJudge):
        _check_reward_model(found, config.model)


def _check_reward_model(found: Mapping[str, Any], model: str) -> None:
    classifies = any("SequenceClassification" in str(a) for a in found.get("architectures") or ())
    outputs = len(found.get("id2label") or range(2))  # transformers writes it unless there are two
    if not classifies or outputs != 1:
        what = f"with {outputs} outputs" if classifies else f"a {found.get('architectures')}"
        raise ConfigError(
            f"judge.model: a reward model is a sequence classifier with one output, {model} is "
            f"{what}",
            "Give another model, or judge with kind llm.",
        )


def judge_config(config: AnyJudgeConfig, gives: str | None = None) -> dict[str, Any]:
    """What the answers of the judges depend on, those that give scores or verdicts, or all."""
    return {"judges": [judge_answers_by(m) for m in judges_giving(config, gives)]}


def judges_functions(config: AnyJudgeConfig, gives: str | None = None) -> dict[str, str]:
    """User code that the answers of the judges depend on."""
    return {k: v for m in judges_giving(config, gives) for k, v in judge_functions(m).items()}


def judges_giving(config: AnyJudgeConfig, gives: str | None) -> Iterator[Judge]:
    """The judges that are no persons and give `gives`: scores or verdicts; None: all."""
    return (m for m in machines(config) if gives in (None, getattr(m, "gives", None)))


class RewardScores:
    """Scores completions by the model's raw rewards."""

    def __init__(self, config: RewardModelJudge, models: Models) -> None:
        self.source = config.source
        self._config = config
        self._models = models

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        return self._models.rate(self._config, completions)
