"""Paths in a config: made absolute, and looked up."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dpo_core.errors import ConfigError
from dpo_core.gguf.header import check_package, names_gguf
from dpo_core.import_path import find_function, load_function
from dpo_core.loss_options import is_user_loss
from flows.config.campaign import CampaignConfig
from labeling.exchange.folder import PAIRS
from labeling.judges.config import Judge, LlmJudge, RuleJudge, members

_PATHS = (
    ("prompts", "path"),
    ("prompts", "dataset"),
    ("sft", "path"),
    ("policy", "model"),
    ("people", "gold"),
    ("people", "guidelines"),
    ("people", "server_dir"),
    ("data", "imported"),
    ("pairs", "rejected_from"),
)


def resolve(raw: dict[str, Any]) -> dict[str, Any]:
    """Fill {data_dir}, make paths absolute: one file is one file however it was spelled."""
    data_dir = raw.get("data_dir")
    if data_dir is not None and not isinstance(data_dir, str | int | float):
        raise ConfigError(
            f"data_dir must be the path of a folder (found {data_dir!r})", "--set data_dir=PATH"
        )
    if data_dir is not None:
        raw["data_dir"] = data_dir = os.path.abspath(str(data_dir))
    raw = {key: _fill(value, data_dir, key) for key, value in raw.items()}
    for section, key in _PATHS:
        values = raw.get(section)
        if not isinstance(values, dict) or not isinstance(path := values.get(key), str):
            continue
        # A model or dataset that does not lie here is the id of one on the hub; guidelines may be a
        # text.
        there = {
            "model": _is_model,
            "rejected_from": os.path.isdir,
            "dataset": os.path.isdir,
            "guidelines": os.path.isfile,
        }.get(key)
        # An empty path names nothing: absolute, it would be the folder we are in.
        if path and (there is None or there(path)):
            values[key] = os.path.abspath(path)
    _resolve_judges(raw)
    for suite, key in _suites(raw):
        suite[key] = os.path.abspath(suite[key])
    return raw


def _is_model(path: str) -> bool:
    return os.path.isdir(path) or names_gguf(path)


def _resolve_judges(raw: dict[str, Any]) -> None:
    for judge in _raw_judges(raw):
        for key, exists in (("model", os.path.isdir), ("rubric", os.path.isfile)):
            if isinstance(path := judge.get(key), str) and exists(path):
                judge[key] = os.path.abspath(path)


def _raw_judges(raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The sections of single judges, those of committees among them."""
    for section in (raw.get("judge"), raw.get("evaluation_judge")):
        if isinstance(section, dict):
            members = section.get("members")
            listed = members if isinstance(members, list) else []
            yield from (m for m in (section, *listed) if isinstance(m, dict))


def _suites(raw: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """The regression suites, each with the key that names its file or folder."""
    evaluation = raw.get("evaluation")
    suites = evaluation.get("suites") if isinstance(evaluation, dict) else None
    for suite in suites.values() if isinstance(suites, dict) else ():
        for key in ("prompts", "data"):
            if isinstance(suite, dict) and isinstance(suite.get(key), str) and suite[key]:
                yield suite, key


def _fill(value: Any, data_dir: str | None, where: str) -> Any:
    if isinstance(value, dict):
        return {k: _fill(v, data_dir, f"{where}.{k}") for k, v in value.items()}
    if not isinstance(value, str) or "{data_dir}" not in value:
        return value
    if data_dir is None:
        raise ConfigError(
            f"{where} is {value!r}, but data_dir is not given",
            "Say where the data lies: --set data_dir=PATH",
        )
    return value.replace("{data_dir}", data_dir)


def check_files(config: CampaignConfig) -> None:
    """Raise ConfigError for a file or folder that is not there."""
    _check_prompts(config.prompts.path)
    paths: dict[str, str | None] = {}
    if config.sft is not None:
        paths["sft.path"] = config.sft.path
    if config.people is not None:
        paths["people.gold"] = config.people.gold
        guidelines = config.people.guidelines or ""
        if guidelines.endswith((".md", ".txt")) and "\n" not in guidelines:
            paths["people.guidelines"] = guidelines
    for name, suite in config.evaluation.own_suites.items():
        paths[f"evaluation.suites.{name}.prompts"] = suite.prompts
    for key, path in paths.items():
        _check_file(key, path)
    _check_tasks(config)
    imported = config.data.imported
    if imported is not None and not os.path.isfile(os.path.join(imported, PAIRS)):
        raise ConfigError(
            f"data.imported: {imported} holds no {PAIRS}",
            "Make it first: ratchet import FILE... OUT_DIR",
        )
    if config.policy.model is not None:
        _check_model(config.policy.model)
    _check_rejected_from(config.pairs.rejected_from)


def _check_rejected_from(rejected_from: object) -> None:
    if isinstance(rejected_from, str) and _lacks(rejected_from):
        raise ConfigError(
            f"pairs.rejected_from: there is no folder {rejected_from}",
            "Give the folder of a model or its id on the hub: --set pairs.rejected_from=NAME",
        )


def _check_tasks(config: CampaignConfig) -> None:
    for name, task in config.evaluation.harness_suites.items():
        key = f"evaluation.suites.{name}.data"
        if not os.path.isdir(task.data):
            raise ConfigError(
                f"{key}: there is no folder {task.data}",
                f"Put the data of {task.harness} there, or give another: --set {key}=DIR",
            )


def _check_model(model: str) -> None:
    if names_gguf(model):
        _check_file("policy.model", model)
        check_package()
    elif _lacks(model):
        raise ConfigError(
            f"policy.model: there is no folder {model}",
            "Give the folder of a model, a .gguf file or its name on the hub: "
            "--set policy.model=NAME",
        )


def _lacks(model: str) -> bool:
    """Whether it is a path, and no id on the hub, at which there is no folder."""
    return model.startswith(("/", ".", "~")) and not os.path.isdir(model)


def _check_prompts(path: str | None) -> None:
    if path is None or not os.path.isdir(path):
        _check_file("prompts.path", path)
    elif not any(name.endswith((".jsonl", ".parquet")) for name in os.listdir(path)):
        raise ConfigError(
            f"prompts.path: the folder {path} holds no .jsonl or .parquet file",
            "Put the first prompts there, or give another: --set prompts.path=PATH",
        )


def _check_file(key: str, path: str | None) -> None:
    if path is not None and not os.path.isfile(path):
        raise ConfigError(f"{key}: there is no file {path}", f"Give another: --set {key}=PATH")


def user_loss(config: CampaignConfig) -> str | None:
    """The import path of the loss; None for one of Ratchet's."""
    return config.training.loss if is_user_loss(config.training.loss) else None


def judges_of(config: CampaignConfig) -> tuple[Judge, ...]:
    """Every judge that the config names, those of suites and people among them."""
    return tuple(judge for _, judge in _judges(config))


def functions_of(config: CampaignConfig) -> frozenset[str]:
    """The import path of every user function that the config names."""
    rules = (judge.function for judge in judges_of(config) if isinstance(judge, RuleJudge))
    sft = config.sft.function if config.sft is not None else None
    more = (config.prompts.function, config.policy.build, sft, user_loss(config))
    return frozenset((*rules, *(path for path in more if path is not None)))


def endpoints_of(config: CampaignConfig) -> frozenset[tuple[str, str | None]]:
    """(URL, environment variable with its key) of every endpoint that the config's judges ask."""
    models = (judge for judge in judges_of(config) if isinstance(judge, LlmJudge))
    return frozenset((m.endpoint, m.api_key_env) for m in models if m.endpoint is not None)


def check_functions(config: CampaignConfig) -> None:
    """Raise ConfigError for user code that is not there, or a judge that lacks something it needs,
    before anything is written or started.

    What runs in this process is imported; what runs in the training process, and may load a model
    library, is only looked up.
    """
    from labeling.judges.make import check_judge  # with templates, which reading a config needs not

    for key, judge in _judges(config):
        with _named(key):
            check_judge(judge)
    if config.prompts.function is not None:
        with _named("prompts.function"):
            load_function(config.prompts.function)
    in_training = {
        "policy.build": config.policy.build,
        "training.loss": user_loss(config),
        "sft.function": config.sft.function if config.sft else None,
    }
    for key, function in in_training.items():
        if function is not None:
            with _named(key):
                find_function(function)


def _judges(config: CampaignConfig) -> Iterator[tuple[str, Judge]]:
    """Every judge with the key of its section."""
    sections = {"judge": config.judge, "evaluation_judge": config.evaluation_judge}
    for key, section in sections.items():
        for judge in () if section is None else members(section):
            function = ".function" if judge.kind == "rule" and section is judge else ""
            yield f"{key}{function}", judge
    for name, suite in config.evaluation.own_suites.items():
        yield f"evaluation.suites.{name}.judge", suite.judge


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Errors in the block begin with the key whose value they are about."""
    try:
        yield
    except ConfigError as error:
        if error.message.startswith(f"{key}."):
            raise
        message = error.message.removeprefix("judge: ").removeprefix("judge.")
        separator = "." if error.message.startswith("judge.") else ": "
        raise ConfigError(f"{key}{separator}{message}", error.remedy) from error
