"""A config as the keys and values that a file holds."""

import difflib
from typing import Any, get_args

from pydantic import ValidationError

from dpo_core.config import Section
from dpo_core.errors import ConfigError
from flows.config.campaign import CampaignConfig
from flows.config.evaluation import SUITE_KINDS
from labeling.judges.config import JUDGE_KINDS


def explain(problem: dict[str, Any]) -> str:
    """One line for one pydantic problem, with the nearest known key for an unknown one."""
    kinds = {*JUDGE_KINDS, *SUITE_KINDS}
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
