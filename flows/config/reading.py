"""From a YAML file and --set to a config, and back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from dpo_core.errors import ConfigError
from flows.config.attempts import check_retries
from flows.config.campaign import CampaignConfig
from flows.config.checks import check_loss
from flows.config.defaults import folder_of, with_defaults
from flows.config.paths import check_files, resolve
from flows.config.raw import set_key, validate
from flows.config.schedule import check_times
from flows.config.stored import made_under

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


def load_config(
    path: Path, overrides: Sequence[str] = (), folder: Path | None = None
) -> CampaignConfig:
    """Read `path`, apply `key.sub=value` overrides, resolve paths, validate.

    folder: of the campaign, where it was named; a campaign that is there keeps its defaults.

    Relative paths inside the config are taken from the current directory, as a shell would.
    Raises ConfigError that names the key and the remedy.
    """
    raw = _with(_read_sections(path), overrides)
    return _checked(with_defaults(raw, made_under(folder_of(path, raw, folder))), str(path))


def overridden(raw: dict[str, Any], overrides: Sequence[str], source: str) -> CampaignConfig:
    """The config of what was read from `source`, with `key.sub=value` overrides; as `load_config`.

    `raw` is changed.
    """
    return _checked(_with(raw, overrides), source)


def _checked(raw: dict[str, Any], source: str) -> CampaignConfig:
    config = validate(resolve(raw), source)
    check_loss(config.training, source)
    check_files(config)
    check_times(config.schedule)
    check_retries(config)
    return config


def dump_config(config: CampaignConfig) -> str:
    """The resolved config as YAML: every key, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_sections(path: Path) -> dict[str, Any]:
    _, raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold keys and values, found {type(raw).__name__}")
    return raw


def _with(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`raw`, which is changed."""
    for override in overrides:
        _apply(raw, override)
    return raw


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise ConfigError(f"--set {override}: expected key=value, for example training.beta=0.2")
    try:
        parsed = parse_yaml(value, override)
    except ConfigError:
        raise ConfigError(f"--set {override}: {value!r} is not a YAML value") from None
    set_key(raw, key.strip(), parsed, f"--set {override}")
