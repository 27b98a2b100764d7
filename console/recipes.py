"""A campaign from a recipe: a form with the recipe's values, which become `--set key=value`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from console.actions import overrides
from dpo_core.errors import BadInput
from flows.config import CampaignConfig

_NEEDED = {"name", "policy", "prompts", "judge"}
"""Sections of every config: a YAML file without them is something else."""
_DEPTH = 4

JsonObject = Mapping[str, Any]
"""A section of a config, or of its JSON schema."""


@dataclass(frozen=True)
class Field:
    """A value of the recipe. choices: those that the config allows; empty for any. about: the
    config's own description."""

    key: str
    value: str
    choices: tuple[str, ...] = ()
    about: str = ""


@dataclass(frozen=True)
class ConfigFile:
    """A config. path: relative where it is in the folder, absolute where it comes with Ratchet.
    about: the first paragraph of its comment."""

    path: str
    name: str
    about: str

    @property
    def comes_along(self) -> bool:
        return Path(self.path).is_absolute()


def list_recipes(folder: Path) -> list[ConfigFile]:
    """Configs in `folder` and in its `configs/`, then those that come with Ratchet."""
    own = sorted((*folder.glob("*.yaml"), *folder.glob("configs/**/*.yaml")))
    shipped = sorted(Path(str(files("flows") / "recipes")).rglob("*.yaml"))
    there = {path.resolve() for path in own}
    paths = [*own, *(path for path in shipped if path.resolve() not in there)]
    return [recipe for path in paths if (recipe := _recipe(folder, path)) is not None]


def _recipe(folder: Path, path: Path) -> ConfigFile | None:
    text = path.read_text(encoding="utf-8", errors="replace")
    values = _mapping(text)
    if _NEEDED - set(values):
        return None
    shown = path.relative_to(folder) if path.is_relative_to(folder) else path
    return ConfigFile(str(shown), str(values["name"]), _comment(text))


def _comment(text: str) -> str:
    """The first paragraph of the comment that a file begins with."""
    lines: list[str] = []
    for line in text.splitlines():
        words = line.removeprefix("#").strip()
        if not line.startswith("#") or (not words and lines):
            break
        lines.append(words)
    return " ".join(lines).strip()


def _mapping(text: str) -> JsonObject:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}


def recipe_fields(folder: Path, path: str) -> list[Field]:
    """The recipe's values by key, in its order. Raises BadInput for a file that is no recipe."""
    known = {recipe.path for recipe in list_recipes(folder)}
    if path not in known:
        raise BadInput(f"{path} is not a recipe of this folder", "Choose one of the list.")
    values = _mapping((folder / path).read_text(encoding="utf-8"))
    return [
        Field(key, value, *_described(tuple(key.split(".")))) for key, value in _flat(values, "")
    ]


def _flat(values: JsonObject, above: str, depth: int = 1) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        key = f"{above}{name}"
        if isinstance(value, dict) and value and depth < _DEPTH:
            yield from _flat(value, f"{key}.", depth + 1)
        else:
            yield key, _as_text(value)


def _as_text(value: object) -> str:
    """A value on one line, as `--set` reads it."""
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _described(key: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """(choices, description) of a key by the config's schema; nothing where it says nothing."""
    schema = _schema()
    node: JsonObject = schema
    for name in key:
        node = _properties(node, schema).get(name, {})
    options = [_resolve(one, schema) for one in node.get("anyOf", [node])]
    choices = [str(choice) for one in options for choice in one.get("enum", ())]
    closed = all("enum" in one or one.get("type") == "null" for one in options)
    return tuple(choices) if closed else (), str(node.get("description", ""))


def _properties(node: JsonObject, schema: JsonObject) -> JsonObject:
    found: dict[str, object] = {}
    for one in node.get("anyOf", [node]):
        found |= _resolve(one, schema).get("properties", {})
    return found


def _resolve(node: JsonObject, schema: JsonObject) -> JsonObject:
    name = str(node.get("$ref", "")).rpartition("/")[2]
    resolved: JsonObject = schema["$defs"][name] if name else node
    return resolved


@cache
def _schema() -> JsonObject:
    return CampaignConfig.model_json_schema()


def changed_words(fields: Sequence[Field], form: Mapping[str, str]) -> list[str]:
    """`--set key=value` for what the form changes of the recipe, and for each further line.

    Raises BadInput for a line that is not `key=value`.
    """
    words = []
    for field in fields:
        value = form.get(field.key, field.value).replace("\r\n", "\n").strip()
        if value != field.value.strip():
            text = json.dumps(value, ensure_ascii=False) if "\n" in value else value
            words += ["--set", f"{field.key}={text}"]
    return [*words, *overrides(form.get("more", ""))]
