"""A campaign for programs: what `ratchet status --json` prints, and its JSON schema.

VERSION grows when something is taken away, renamed, or gets another meaning or type. What is added
leaves it as it is: a program that reads it ignores what it does not know.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dpo_core.evaluation.round_metrics import COLUMNS, JSON_COLUMNS, Column
from dpo_core.text import printed_json
from reporting.certified import BY_A_PERSON, CERTIFIED, NOT_CERTIFIED, ON_SET, certified
from reporting.sentences import headline
from reporting.summary import CampaignSummary

VERSION = 1

_NUMBER, _TEXT = {"type": ["number", "null"]}, {"type": "string"}
_TAKEN_BACK = {
    "type": "object",
    "required": ["source", "rounds", "used", "by", "at"],
    "properties": {
        "source": _TEXT,
        "rounds": {"type": "array", "items": {"type": "integer"}},
        "used": {"type": "array", "items": {"type": "integer"}},
        "by": _TEXT,
        "at": _TEXT,
    },
}
_ROLLED_BACK = {
    "type": "object",
    "required": ["after", "to", "by", "at", "why"],
    "properties": {
        "after": {"type": "integer"},
        "to": {"type": "integer"},
        "by": _TEXT,
        "at": _TEXT,
        "why": _TEXT,
    },
}
_STOPPED = {
    "type": ["object", "null"],
    "required": ["rule", "sentence"],
    "properties": {"rule": _TEXT, "sentence": _TEXT},
}
_CERTIFIED = {
    "type": ["object", "null"],
    "required": [
        "false_promotions",
        "decisions",
        "planned",
        "prompts_used",
        "prompts",
        "rounds",
        "sentence",
    ],
    "properties": {
        "false_promotions": {"type": "number"},
        "decisions": {"type": "integer"},
        "planned": {"type": "integer"},
        "prompts_used": {"type": "integer"},
        "prompts": {"type": "integer"},
        "rounds": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["round", "rests_on"],
                "properties": {
                    "round": {"type": "integer"},
                    "rests_on": {"enum": [CERTIFIED, ON_SET, NOT_CERTIFIED, BY_A_PERSON]},
                },
            },
        },
        "sentence": _TEXT,
    },
}
_TOP: Mapping[str, tuple[dict[str, Any], str]] = {
    "version": ({"const": VERSION}, "of this format"),
    "name": (_TEXT, "of the campaign"),
    "directory": (_TEXT, "its folder, as it was named"),
    "state": (
        {"enum": ["finished", "running", "waiting", "stopped"]},
        "waiting: for people; stopped: no process runs it, and rounds are left",
    ),
    "rounds_planned": ({"type": "integer", "minimum": 1}, "as the config says"),
    "doing": (_TEXT, "what runs now, or what people are asked for; else empty"),
    "headline": (_TEXT, "what the campaign has reached, in a sentence or two"),
    "stopped": (_STOPPED, "which rule ended the campaign early, and why; null where none did"),
    "taken_back": (
        {"type": "array", "items": _TAKEN_BACK},
        "sources whose judgements do not count: in which rounds, where there were some, by whom",
    ),
    "outdated": (
        {"type": "array", "items": {"type": "integer"}},
        "rounds to be run again, because what counts in them has changed",
    ),
    "rolled_back": (
        {"type": "array", "items": _ROLLED_BACK},
        "after which rounds a person let another policy go on than the gate: that of round `to`, "
        "0 for the base",
    ),
    "gate_looks": (
        {"type": "integer", "minimum": 0},
        "policies that the gate has decided on, refused attempts among them: each is a test on the "
        "same gate prompts",
    ),
    "certified": (
        _CERTIFIED,
        "what the gate may claim with gate.false_promotions: the chance of a false promotion in "
        "the campaign, decisions made and planned, gate prompts used and had, and what each of its "
        "decisions rests on; null without it",
    ),
    "base": ({"type": "object", "additionalProperties": _NUMBER}, "the base policy's own numbers"),
    "cost": (
        {"type": "object"},
        "of the whole campaign until now, its base included, at the prices of today: the columns "
        "of cost of a round",
    ),
    "rounds": ({"type": "array", "items": {"$ref": "#/$defs/round"}}, "those that are finished"),
}
_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


def as_json(summary: CampaignSummary) -> dict[str, Any]:
    """What `ratchet status --json` prints; a number that does not exist is null, never NaN."""
    names = [column.name for column in COLUMNS]
    return {
        "version": VERSION,
        "name": summary.name,
        "directory": summary.directory,
        "state": summary.state,
        "rounds_planned": summary.rounds_planned,
        "doing": summary.doing,
        "headline": headline(summary),
        "stopped": _plain(summary.stopped),
        "taken_back": [_plain(asdict(one)) for one in summary.taken_back],
        "outdated": list(summary.outdated),
        "rolled_back": [asdict(one) for one in summary.rolled_back],
        "gate_looks": summary.gate_looks,
        "certified": _plain(certified(summary)),
        "base": _plain(summary.base),
        "cost": _plain(summary.cost),
        "rounds": [_plain({**dict.fromkeys(names), **row}) for row in summary.rounds],
    }


def written(found: Mapping[str, Any]) -> str:
    """As text that any parser of JSON takes."""
    return printed_json(found)


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what is printed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"ratchet status --json, version {VERSION}",
        "type": "object",
        "required": list(_TOP),
        "properties": {
            name: {**shape, "description": said} for name, (shape, said) in _TOP.items()
        },
        "$defs": {
            "round": {
                "type": "object",
                "required": [column.name for column in COLUMNS],
                "properties": {column.name: _column(column) for column in COLUMNS},
                "patternProperties": {
                    "^measure_": {**_NUMBER, "description": "what a judge measured: a share"}
                },
            }
        },
    }


def _column(column: Column) -> dict[str, Any]:
    kinds = ["object", "array"] if column.name in JSON_COLUMNS else [_TYPES[column.kind]]
    return {"type": [*kinds, "null"], "description": column.meaning.removeprefix("JSON: ")}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):  # a scalar of numpy, as pandas hands them out
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
