"""The request of `ratchet evaluate`, as the config of a campaign that trains nothing."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpo_core.errors import ConfigError, PromptError
from dpo_core.find_model import Model, find_model
from dpo_core.install_hint import page
from dpo_core.processor import available_threads
from dpo_core.records import Prompt
from flows.config import CampaignConfig, check_functions, override_config
from flows.config.precision import with_precision
from flows.config.raw import RawConfig, read_yaml
from generation.prompts import read_pool
from labeling.judges.config import asks_people


@dataclass(frozen=True)
class EvaluationRequest:
    """A checked request: only running the models can fail."""

    models: tuple[Model, Model]
    config: CampaignConfig
    prompts: tuple[Prompt, ...]


def check_request(
    models: tuple[str, str], prompts: Path, judge: Mapping[str, object], overrides: Sequence[str]
) -> EvaluationRequest:
    """Check a request. judge: a config's section. overrides: of sampling, evaluation and prompts.

    Raises BadInput.
    """
    for override in overrides:
        _check_section(override)
    if not prompts.exists():
        raise PromptError(f"there is no file {prompts}", "Name another: --prompts FILE")
    raw = RawConfig(
        {
            "name": "evaluate",
            "threads": available_threads(),
            "policy": {"model": "none"},  # nothing is trained
            "prompts": {"path": str(prompts)},
            "pairs": {"strategy": "random"},
            "judge": judge,
        }
    )
    config = with_precision(override_config(raw, overrides, "ratchet evaluate"))
    if asks_people(config.judge):
        raise ConfigError(
            "the judge has a member of kind human, and people cannot be asked here",
            "Remove that member.",
        )
    check_functions(config)
    locations = find_model(models[0]), find_model(models[1])
    return EvaluationRequest(locations, config, _read_prompts(config))


def read_judge(judge: str | None, judge_config: Path | None) -> Mapping[str, object]:
    """A judge section, from the import path of a rule or from a YAML file.

    Raises ConfigError unless exactly one is given and the file holds such a section.
    """
    if (judge is None) == (judge_config is None):
        raise ConfigError(
            "give exactly one of --judge and --judge-config",
            "Name a rule, --judge my_judge:score, or a YAML file with a judge section.",
        )
    if judge_config is None:
        return {"kind": "rule", "function": judge}
    _, read = read_yaml(judge_config)
    section = read.get("judge", read) if isinstance(read, dict) else read
    if not isinstance(section, dict):
        raise ConfigError(
            f"{judge_config} holds no judge section",
            f"For example {{kind: reward_model, model: NAME}}: {page('judges.md')}",
        )
    return section


def _check_section(override: str) -> None:
    section = override.partition("=")[0].partition(".")[0].strip()
    if section not in ("sampling", "evaluation", "prompts", "threads"):
        raise ConfigError(
            f"--set {override}: only sampling.…, evaluation.…, prompts.… and threads apply here"
        )


def _read_prompts(config: CampaignConfig) -> tuple[Prompt, ...]:
    """The file's prompts, each once, as test prompts."""
    by_id = {p.prompt_id: replace(p, split="test") for p in read_pool(config.prompts)}
    if not by_id:
        raise PromptError(f"{os.path.basename(config.prompts.path or '')} holds no prompts")
    return tuple(by_id.values())
