"""Paths, functions and endpoints in a config: made absolute, listed and checked."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dpo_core.errors import ConfigError
from dpo_core.find_model import names_folder
from dpo_core.gguf.header import check_package, names_gguf
from dpo_core.import_path import find_function, load_function
from dpo_core.loss_options import is_user_loss
from flows.config.campaign import CampaignConfig
from flows.config.raw import RawConfig
from labeling.exchange.folder import PAIRS
from labeling.judges.config import Judge, members

_IsPath = Callable[[str], bool]
_Path = tuple[dict[str, object], str, _IsPath]
"""(section, key, whether its value is a path)"""


def _is_model(path: str) -> bool:
    return os.path.isdir(path) or names_gguf(path)


# A model or dataset that is not a folder here is a hub id; guidelines may be plain text.
# Made absolute, an empty path would be the current folder.
_PATHS: Mapping[str, _IsPath] = {
    "prompts.path": bool,
    "prompts.dataset": os.path.isdir,
    "sft.path": bool,
    "policy.model": _is_model,
    "people.gold": bool,
    "people.guidelines": os.path.isfile,
    "people.server_dir": bool,
    "data.imported": bool,
    "pairs.rejected_from": os.path.isdir,
}
"""key → whether its value is a path."""


def resolve_paths(raw: RawConfig) -> RawConfig:
    """Fill {data_dir} and make paths absolute, so that spelling does not change fingerprints."""
    data_dir = raw.get("data_dir")
    if data_dir is not None and not isinstance(data_dir, str | int | float):
        raise ConfigError(
            f"data_dir must be the path of a folder (found {data_dir!r})",
            "Set it: --set data_dir=PATH",
        )
    if data_dir is not None:
        raw.values["data_dir"] = data_dir = os.path.abspath(str(data_dir))
    raw = RawConfig({key: _fill(value, data_dir, key) for key, value in raw.values.items()})
    for key, is_path in _PATHS.items():
        if isinstance(path := raw.get(key), str) and is_path(path):
            raw.set(key, os.path.abspath(path), key)
    for section, key, is_path in _inner_paths(raw):
        if isinstance(path := section.get(key), str) and is_path(path):
            section[key] = os.path.abspath(path)
    return raw


def _inner_paths(raw: RawConfig) -> Iterator[_Path]:
    """Those of all judges, members of committees included, and of regression suites."""
    for key in ("judge", "evaluation_judge"):
        members = raw.get(f"{key}.members")
        for judge in (raw.get(key), *(members if isinstance(members, list) else ())):
            if isinstance(judge, dict):
                yield judge, "model", os.path.isdir
                yield judge, "rubric", os.path.isfile
    suites = raw.get("evaluation.suites")
    for suite in suites.values() if isinstance(suites, dict) else ():
        if isinstance(suite, dict):
            yield suite, "prompts", bool
            yield suite, "data", bool


def _fill(value: Any, data_dir: str | None, where: str) -> Any:
    if isinstance(value, dict):
        return {k: _fill(v, data_dir, f"{where}.{k}") for k, v in value.items()}
    if not isinstance(value, str) or "{data_dir}" not in value:
        return value
    if data_dir is None:
        raise ConfigError(
            f"{where} is {value!r}, but data_dir is not set",
            "Set the folder of the data: --set data_dir=PATH",
        )
    return value.replace("{data_dir}", data_dir)


def check_files(config: CampaignConfig) -> None:
    """Raise ConfigError for a missing file or folder."""
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
            "Import preferences first: ratchet import FILE... OUT_DIR",
        )
    _check_models(config.policy.model, config.pairs.rejected_from)


def _check_models(model: str | None, rejected_from: object) -> None:
    if model is not None and names_gguf(model):
        _check_file("policy.model", model)
        check_package()
    elif model is not None and _is_missing(model):
        raise ConfigError(
            f"policy.model: no such folder: {model}",
            "Give the folder of a model, a .gguf file or a hub id: --set policy.model=NAME",
        )
    if isinstance(rejected_from, str) and _is_missing(rejected_from):
        raise ConfigError(
            f"pairs.rejected_from: no such folder: {rejected_from}",
            "Give the folder of a model or its hub id: --set pairs.rejected_from=NAME",
        )


def _check_tasks(config: CampaignConfig) -> None:
    for name, task in config.evaluation.harness_suites.items():
        key = f"evaluation.suites.{name}.data"
        if not os.path.isdir(task.data):
            raise ConfigError(
                f"{key}: no such folder: {task.data}",
                f"Put the data of {task.harness} there, or set another: --set {key}=DIR",
            )


def _is_missing(model: str) -> bool:
    """Whether `model` is a path, not a hub id, without a folder there."""
    return names_folder(model) and not os.path.isdir(model)


def _check_prompts(path: str | None) -> None:
    if path is None or not os.path.isdir(path):
        _check_file("prompts.path", path)
    elif not any(name.endswith((".jsonl", ".parquet")) for name in os.listdir(path)):
        raise ConfigError(
            f"prompts.path: the folder {path} holds no .jsonl or .parquet file",
            "Put the first prompts there, or set another: --set prompts.path=PATH",
        )


def _check_file(key: str, path: str | None) -> None:
    if path is not None and not os.path.isfile(path):
        raise ConfigError(f"{key}: no such file: {path}", f"Set another: --set {key}=PATH")


def user_loss(config: CampaignConfig) -> str | None:
    """The import path of the loss; None for one of Ratchet's."""
    return config.training.loss if is_user_loss(config.training.loss) else None


def list_judges(config: CampaignConfig) -> tuple[Judge, ...]:
    """Every judge in the config, people and those of suites included."""
    return tuple(judge for _, judge in _judges(config))


def list_functions(config: CampaignConfig) -> frozenset[str]:
    """Import paths of all user functions in the config."""
    rules = (function for judge in list_judges(config) for function in judge.functions)
    sft = config.sft.function if config.sft is not None else None
    more = (config.prompts.function, config.policy.build, sft, user_loss(config))
    return frozenset((*rules, *(path for path in more if path is not None)))


def list_endpoints(config: CampaignConfig) -> frozenset[tuple[str, str | None]]:
    """(URL, environment variable with its key) of every judge's endpoint."""
    return frozenset(endpoint for judge in list_judges(config) for endpoint in judge.endpoints)


def check_functions(config: CampaignConfig) -> None:
    """Raise ConfigError for missing user code or an incomplete judge, before anything is written.

    Imports what runs in this process. Only looks up what runs in the training process, because it
    may load a model library.
    """
    from labeling.judges.make import check_judge  # loads templates, which a config does not need

    for key, judge in _judges(config):
        with _prefix_errors(key):
            check_judge(judge)
    if config.prompts.function is not None:
        with _prefix_errors("prompts.function"):
            load_function(config.prompts.function)
    in_training = {
        "policy.build": config.policy.build,
        "training.loss": user_loss(config),
        "sft.function": config.sft.function if config.sft else None,
    }
    for key, function in in_training.items():
        if function is not None:
            with _prefix_errors(key):
                find_function(function)


def _judges(config: CampaignConfig) -> Iterator[tuple[str, Judge]]:
    """(key, judge) of every judge."""
    sections = {"judge": config.judge, "evaluation_judge": config.evaluation_judge}
    for key, section in sections.items():
        for judge in () if section is None else members(section):
            function = ".function" if judge.kind == "rule" and section is judge else ""
            yield f"{key}{function}", judge
    for name, suite in config.evaluation.own_suites.items():
        yield f"evaluation.suites.{name}.judge", suite.judge


@contextmanager
def _prefix_errors(key: str) -> Iterator[None]:
    """Make errors in the block begin with the key they are about."""
    try:
        yield
    except ConfigError as error:
        if error.message.startswith(f"{key}."):
            raise
        message = error.message.removeprefix("judge: ").removeprefix("judge.")
        separator = "." if error.message.startswith("judge.") else ": "
        raise ConfigError(f"{key}{separator}{message}", error.remedy) from error
