"""YAML as configs need it: keys are texts, none stands twice, and values are what JSON has."""

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from dpo_core.errors import ConfigError

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


# A day is a text to every key there is: as a date it would be refused, or fail to be one.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != f"{_TAG}timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refuse_kind(_: yaml.SafeLoader, node: Node) -> Any:
    raise ConstructorError(None, None, f"no key takes a value of kind {node.tag}", node.start_mark)


for _name in _FOREIGN:
    _Loader.add_constructor(f"{_TAG}{_name}", _refuse_kind)


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
