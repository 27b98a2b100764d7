"""Make and check the judge that a config section names."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

from dpo_core.config import Section
from dpo_core.errors import ConfigError
from dpo_core.find_model import names_folder
from dpo_core.import_path import load_function, source_hash
from dpo_core.install_hint import install
from dpo_core.records import Completion, Score
from labeling.judges.config import (
    STEERS_NO_ANSWER,
    AnyJudgeConfig,
    HumanJudge,
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


@dataclass(frozen=True)
class JudgeKind:
    """How judges of one kind are made and checked; the traits of a judge are on its config.

    makers: "score" or "verdict" → constructor, called with the config and the models.
    user_code: name → hash of the user code and texts that the answers depend on.
    check: raises ConfigError for a judge that cannot work.
    """

    config: type[Section]
    makers: Mapping[str, Callable[[Any, Models], Any]] = field(default_factory=dict)
    user_code: Callable[[Any], dict[str, str]] = lambda config: {}
    check: Callable[[Any], object] = lambda config: None


def pointwise_judge(config: Judge, models: Models) -> PointwiseJudge | None:
    """The judge if it scores completions, else None."""
    judge: PointwiseJudge | None = _make(config, models, "score")
    return judge


def pairwise_judge(config: Judge, models: Models) -> PairwiseJudge | None:
    """The judge if it reads pairs, else None."""
    judge: PairwiseJudge | None = _make(config, models, "verdict")
    return judge


def _make(config: Judge, models: Models, gives: str) -> Any:
    if config.gives != gives:
        return None
    return KINDS[config.kind].makers[gives](config, models)


def hash_user_code(config: Judge) -> Mapping[str, str]:
    """name → hash of the user code and texts that the judge's answers depend on."""
    return KINDS[config.kind].user_code(config)


def answer_fields(config: Judge) -> dict[str, object]:
    """The fields of the section that the judge's answers depend on."""
    fields = config.model_dump(mode="json", exclude=set(STEERS_NO_ANSWER))
    if fields.get("relevance") is None:  # keeps fingerprints from before the field existed
        fields.pop("relevance", None)
    return fields


def check_judge(config: Judge) -> None:
    """Raise ConfigError for a judge that cannot work: its function, rubric, key or model."""
    KINDS[config.kind].check(config)


def _check_llm(config: LlmJudge) -> None:
    load_rubric(config)
    if config.needs_key:
        endpoint_key(config)
    if config.endpoint is None:
        _read_model_config(config.model)
    else:
        _check_library("openai", install("labeling"))


def _check_library(name: str, remedy: str) -> None:
    if find_spec(name) is None:
        raise ConfigError(f"judge: this kind of judge needs {name}, which is missing", remedy)


class _ModelConfig(TypedDict, total=False):
    """What is read of a model's config.json."""

    architectures: list[str] | None
    id2label: dict[str, str] | None


def _read_model_config(model: str) -> _ModelConfig | None:
    """config.json of a model in a folder; None for one on the hub, which is not looked up.

    Raises ConfigError when vLLM is missing, or the folder or its config.json.
    """
    _check_library("vllm", f"{install('gpu')}, or judge behind an endpoint")
    folder = Path(model)
    if not folder.is_dir():
        if names_folder(model):
            raise ConfigError(
                f"judge.model: there is no folder {model}",
                "Give the folder of a model, or its name on the hub.",
            )
        return None
    try:
        config: _ModelConfig = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"judge.model: {folder} holds no model: {error}",
            "Give a folder written by save_pretrained.",
        ) from None
    return config


def _check_reward_model(config: RewardModelJudge) -> None:
    model = _read_model_config(config.model)
    if model is None:
        return
    classifies = any("SequenceClassification" in str(a) for a in model.get("architectures") or ())
    outputs = len(model.get("id2label") or range(2))  # transformers omits it for two outputs
    if not classifies or outputs != 1:
        what = f"with {outputs} outputs" if classifies else f"a {model.get('architectures')}"
        raise ConfigError(
            f"judge.model: a reward model is a sequence classifier with one output, {config.model} "
            f"is {what}",
            "Give another model, or set judge.kind to llm.",
        )


def judge_config(config: AnyJudgeConfig, gives: str | None = None) -> dict[str, object]:
    """The config fields that the answers of the judges giving `gives` depend on; None: of all."""
    return {"judges": [answer_fields(m) for m in judges_giving(config, gives)]}


def judges_functions(config: AnyJudgeConfig, gives: str | None = None) -> dict[str, str]:
    """name → hash of the user code that the answers of these judges depend on."""
    return {k: v for m in judges_giving(config, gives) for k, v in hash_user_code(m).items()}


def judges_giving(config: AnyJudgeConfig, gives: str | None) -> Iterator[Judge]:
    """The judges without people that give `gives`, "score" or "verdict"; None: all of them."""
    return (m for m in machines(config) if gives in (None, m.gives))


class RewardScores:
    """Scores completions by a reward model's raw output."""

    def __init__(self, config: RewardModelJudge, models: Models) -> None:
        self.source = config.source
        self._config = config
        self._models = models

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        return self._models.rate(self._config, completions)


KINDS: Mapping[str, JudgeKind] = {
    "rule": JudgeKind(
        RuleJudge,
        {
            "score": lambda config, _: RuleScores(config.function, config.source),
            "verdict": lambda config, _: RuleVerdicts(config.function, config.source),
        },
        user_code=lambda config: {config.function: source_hash(config.function)},
        check=lambda config: load_function(config.function),
    ),
    "reward_model": JudgeKind(RewardModelJudge, {"score": RewardScores}, check=_check_reward_model),
    "llm": JudgeKind(
        LlmJudge,
        {"score": LlmScores, "verdict": LlmVerdicts},
        user_code=lambda config: {f"rubric of {config.source}": load_rubric(config).fingerprint},
        check=_check_llm,
    ),
    "human": JudgeKind(HumanJudge),
}
"""Every kind of judge; a committee is made of its members."""
