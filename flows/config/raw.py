"""A config as the keys and values of a YAML file."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode

from dpo_core.config import Section
from dpo_core.errors import ConfigError
from flows.config.campaign import CampaignConfig
from flows.config.defaults import DEFAULTS, earlier_defaults
from flows.config.evaluation import SUITE_KINDS
from labeling.judges.config import JUDGE_KINDS


class RawConfig:
    """The keys and values of a YAML file, not validated. Its methods take dotted keys."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def get(self, key: str, default: Any = None) -> Any:
        at: object = self.values
        for name in key.split("."):
            if not isinstance(at, dict) or name not in at:
                return default
            at = at[name]
        return at

    def set(self, key: str, value: object, where: str) -> None:
        """Raises ConfigError, which begins with `where`, for a key below a plain value."""
        *sections, last = key.split(".")
        at = self.values
        for name in sections:
            if at.get(name) is None:
                at[name] = {}
            at = at[name]
            if not isinstance(at, dict):
                raise ConfigError(f"{where}: {name} is a value and has no keys below it")
        at[last] = value

    def fill_defaults(self, made_under: int = DEFAULTS) -> "RawConfig":
        """Fill in defaults that have changed since the version that `defaults` names, or else
        `made_under`. Returns itself."""
        version = self.values.setdefault("defaults", made_under)
        if type(version) is int:  # validation refuses anything else
            for key, value in earlier_defaults(version).items():
                section, name = key.split(".")
                keys = self.values.setdefault(section, {})
                if isinstance(keys, dict):  # not null, or a value that validation refuses
                    keys.setdefault(name, value)
        return self


def explain(problem: ErrorDetails) -> str:
    """One line for one pydantic problem, with the nearest known key for an unknown one."""
    kinds = {*JUDGE_KINDS, *SUITE_KINDS, "loss name", "loss path"}
    where = ".".join(str(part) for part in problem["loc"] if part not in kinds)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where}{_hint(_near_key(problem['loc']))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return message
    if problem["type"] == "union_tag_invalid":
        expected = problem["ctx"]["expected_tags"].replace("'", "")
        return f"{where}.kind must be one of {expected} (found {problem['ctx']['tag']!r})"
    if problem["type"] == "missing":
        return f"{where}: {message}"
    near = ""
    if problem["type"] == "literal_error":
        words = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        near = _hint(next(iter(difflib.get_close_matches(str(problem["input"]), words, n=1)), None))
    return f"{where}: {message} (found {problem['input']!r}{near})"


_OTHER_NAMES: Mapping[str, str] = {
    "lr": "training.learning_rate",
    "batch_size": "training.pairs_per_step",
    "per_device_train_batch_size": "training.pairs_per_step",
    "num_epochs": "training.epochs",
    "num_train_epochs": "training.epochs",
    "loss_type": "training.loss",
    "kl_coef": "training.beta",
    "max_length": "sampling.max_model_len",
    "max_new_tokens": "sampling.max_tokens",
    "num_generations": "sampling.samples_per_prompt",
    "iterations": "rounds",
    "num_rounds": "rounds",
    "model_name_or_path": "policy.model",
}
"""What other trainers call a key, or what it is often called: its name here."""


def _near_key(location: tuple[str | int, ...]) -> str | None:
    """The key that an unknown one was meant to be: by another name, in its section, or the same
    name in another section."""
    name, section = str(location[-1]), ".".join(map(str, location[:-1]))
    known = _known_keys(location)
    other = _OTHER_NAMES.get(name)
    if other is not None:
        return other.removeprefix(f"{section}.") if section else other
    if near := difflib.get_close_matches(name, known, n=1):
        return near[0]
    elsewhere = [key for key in _all_keys() if key.rpartition(".")[2] == name]
    return min(elsewhere, key=lambda key: not key.startswith("training."), default=None)


def _all_keys() -> Iterator[str]:
    """Keys of the config, and of the sections directly below it."""
    for name, field in CampaignConfig.model_fields.items():
        yield name
        for section in _sections(field.annotation):
            yield from (f"{name}.{key}" for key in section.model_fields)


def _hint(near: str | None) -> str:
    return "" if near is None else f"; did you mean {near}?"


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """Keys of the section that holds `location`; in a union, of the kind that was named."""
    sections: list[type[Section]] = [CampaignConfig]
    for part in location[:-1]:
        fields = [m.model_fields[str(part)] for m in sections if str(part) in m.model_fields]
        inner = [s for f in fields for s in _sections(f.annotation)]
        sections = inner or [s for s in sections if part in _kinds(s)] or sections
    return [name for section in sections for name in section.model_fields]


def _sections(annotation: Any) -> list[type[Section]]:
    """The sections that a field's annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for part in getattr(annotation, "__args__", ()) for s in _sections(part)]


def _kinds(section: type[Section]) -> tuple[Any, ...]:
    """Values of the section's key `kind`, which pydantic names among the keys of an error."""
    field = section.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()


def validate(raw: Mapping[str, object], source: str) -> CampaignConfig:
    """`raw` as a CampaignConfig. Raises ConfigError that lists every problem, one per line."""
    try:
        return CampaignConfig.model_validate(raw)
    except ValidationError as error:
        lines = map(explain, error.errors())
        raise ConfigError(f"{source}: " + "\n  ".join(lines)) from None


_TAG = "tag:yaml.org,2002:"
_FOREIGN = ("timestamp", "binary", "set", "omap", "pairs")
_DEEPEST = 40
"""Levels of nesting; no config comes near."""


class _Strict(SafeConstructor):
    """Refuses duplicate keys, and reads every key as text: YAML takes `on` for a boolean."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        if node.id == "mapping":  # `!!map 3` is not one
            _refuse_duplicates(node)
            self.flatten_mapping(node)
            for key, _ in node.value:
                if isinstance(key, ScalarNode):
                    key.tag = f"{_TAG}str"
        return super().construct_mapping(node, deep)


class _Loader(_Strict, yaml.SafeLoader):
    """Says where a text is not YAML."""


_LIBYAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _FastLoader(_Strict, _LIBYAML):  # type: ignore[misc]
    """Eight times as fast: what takes longest in reading a campaign's config."""


def _refuse_kind(_: yaml.SafeLoader, node: Node) -> Any:
    raise ConstructorError(None, None, f"no key takes a value of kind {node.tag}", node.start_mark)


for _loader in (_Loader, _FastLoader):
    # Dates stay text: no key takes a date.
    _loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for _name in _FOREIGN:
        _loader.add_constructor(f"{_TAG}{_name}", _refuse_kind)


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text. Raises ConfigError, which begins with `source`."""
    try:
        value = _load(text)
        _refuse_depth(value, _DEEPEST)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source}: sections are nested too deeply or recursively") from None
    except ValueError as error:  # a malformed number: !!int x, 0x_, or thousands of digits
        raise ConfigError(f"{source} holds a value that cannot be read: {error}") from None
    return value


def _load(text: str) -> Any:
    try:
        return yaml.load(text, _FastLoader)
    except yaml.YAMLError:
        return yaml.load(text, _Loader)  # for its message


def read_yaml(path: Path) -> tuple[str, Any]:
    """(text of a YAML file, its value). Raises ConfigError that names the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read config {path}: {error.strerror}", "Check the path."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    return text, parse_yaml(text, str(path))


def _refuse_duplicates(node: MappingNode) -> None:
    """Keys merged by `<<` do not count: overriding them is its purpose."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, ScalarNode) and key.tag != f"{_TAG}merge":
            if key.value in seen:
                raise ConstructorError(None, None, f"duplicate key {key.value}", key.start_mark)
            seen.add(key.value)


def _refuse_depth(value: Any, levels: int) -> None:
    if levels == 0:
        raise RecursionError
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        _refuse_depth(part, levels - 1)
