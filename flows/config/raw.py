"""A config as the keys and values that a file holds."""

import difflib
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from dpo_core.config import Section
from dpo_core.errors import ConfigError
from flows.config.campaign import CampaignConfig
from flows.config.evaluation import SUITE_KINDS
from labeling.judges.config import JUDGE_KINDS


def explain(problem: dict[str, Any]) -> str:
    """One line for one pydantic problem, with the nearest known key for an unknown one."""
    kinds = {*JUDGE_KINDS, *SUITE_KINDS, "loss name", "loss path"}
    where = ".".join(str(part) for part in problem["loc"] if part not in kinds)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), _known_keys(problem["loc"]), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"unknown key {where}{hint}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return message
    if problem["type"] == "union_tag_invalid":
        expected = problem["ctx"]["expected_tags"].replace("'", "")
        return f"{where}.kind must be one of {expected} (found {problem['ctx']['tag']!r})"
    found = "" if problem["type"] == "missing" else f" (found {problem['input']!r})"
    return f"{where}: {message}{found}"


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """Keys of the section that `location` lies in; of a union, those of the kind that was named."""
    found: list[type[Section]] = [CampaignConfig]
    for part in location[:-1]:
        fields = [m.model_fields[str(part)] for m in found if str(part) in m.model_fields]
        found = [s for f in fields for s in _sections(f.annotation)] or _of_kind(found, part)
    return [name for section in found for name in section.model_fields]


def _sections(annotation: Any) -> list[type[Section]]:
    """The sections that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for part in getattr(annotation, "__args__", ()) for s in _sections(part)]


def _of_kind(found: list[type[Section]], kind: str | int) -> list[type[Section]]:
    """Those of that kind, which pydantic names among the keys of an error; else all."""
    return [s for s in found if kind in get_args(_kind_of(s))] or found


def _kind_of(section: type[Section]) -> Any:
    return section.model_fields["kind"].annotation if "kind" in section.model_fields else None


def validate(raw: dict[str, Any], source: str) -> CampaignConfig:
    """`raw` as a CampaignConfig; a ConfigError lists every problem, one per line."""
    try:
        return CampaignConfig.model_validate(raw)
    except ValidationError as error:
        lines = [explain(dict(problem)) for problem in error.errors()]
        raise ConfigError(f"{source}: " + "\n  ".join(lines)) from None


def set_key(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Put `value` at the dotted `key`. Raises ConfigError below something that is no section."""
    *sections, last = key.split(".")
    for name in sections:
        if raw.get(name) is None:
            raw[name] = {}
        raw = raw[name]
        if not isinstance(raw, dict):
            raise ConfigError(f"{where}: {name} is a value, it has no keys below it")
    raw[last] = value


_TAG = "tag:yaml.org,2002:"


_FOREIGN = ("timestamp", "binary", "set", "omap", "pairs")


_DEEPEST = 40
"""Sections within sections; no config comes near."""


class _Loader(yaml.SafeLoader):
    """Where YAML itself would go on silently, with the last of two keys or with `on` as a yes."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        if node.id == "mapping":  # `!!map 3` is none
            _refuse_twice(node)
            self.flatten_mapping(node)
            for key, _ in node.value:
                if isinstance(key, ScalarNode):
                    key.tag = f"{_TAG}str"
        return super().construct_mapping(node, deep)


def _refuse_kind(_: yaml.SafeLoader, node: Node) -> Any:
    raise ConstructorError(None, None, f"no key takes a value of kind {node.tag}", node.start_mark)


def parse_yaml(text: str, source: str) -> Any:
    """The value that `text` spells. Raises ConfigError, which begins with `source`."""
    try:
        value = yaml.load(text, _Loader)
        _refuse_depth(value, _DEEPEST)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source}: sections are nested too deeply, or hold themselves") from None
    except ValueError as error:  # a number that is none: !!int x, 0x_, or thousands of digits
        raise ConfigError(f"{source} holds a value that cannot be read: {error}") from None
    return value


def read_yaml(path: Path) -> tuple[str, Any]:
    """(a file's text, the value that it spells). Raises ConfigError that names the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read config {path}: {error.strerror}", "Check the path."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    return text, parse_yaml(text, str(path))


def _refuse_twice(node: MappingNode) -> None:
    """Of keys that `<<` brings along one may stand beside them: that is what it is for."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, ScalarNode) and key.tag != f"{_TAG}merge":
            if key.value in seen:
                raise ConstructorError(
                    None, None, f"the key {key.value} stands twice", key.start_mark
                )
            seen.add(key.value)


def _refuse_depth(value: Any, levels: int) -> None:
    if levels == 0:
        raise RecursionError
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        _refuse_depth(part, levels - 1)
