"""A campaign for programs: what `ratchet status --json` prints, and its JSON schema.

VERSION grows if a key is removed or renamed, or changes its meaning or type. New keys leave it
unchanged: a program must ignore keys that it does not know.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dpo_core.campaign.metric_columns import COLUMNS, JSON_COLUMNS, Column
from reporting.certification import (
    BY_A_PERSON,
    CERTIFIED,
    NOT_CERTIFIED,
    ON_SET,
    certification_summary,
)
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
    "version": ({"const": VERSION}, "version of this format"),
    "name": (_TEXT, "name of the campaign"),
    "directory": (_TEXT, "folder of the campaign, as given"),
    "state": (
        {"enum": ["finished", "running", "waiting", "stopped"]},
        "waiting: for people; stopped: no process runs it, and rounds remain",
    ),
    "rounds_planned": ({"type": "integer", "minimum": 1}, "rounds in the config"),
    "doing": (_TEXT, "what runs now, or what people are asked for; otherwise empty"),
    "headline": (_TEXT, "the result so far, in one to three sentences"),
    "stopped": (_STOPPED, "the rule that ended the campaign early, and why; null if none did"),
    "taken_back": (
        {"type": "array", "items": _TAKEN_BACK},
        "retracted sources: in which rounds, which of these had judgements of it, by whom",
    ),
    "outdated": (
        {"type": "array", "items": {"type": "integer"}},
        "rounds to be run again after a retraction",
    ),
    "rolled_back": (
        {"type": "array", "items": _ROLLED_BACK},
        "rollbacks by a person, which override the gate: after which round, and to the policy of "
        "which (0: the base)",
    ),
    "gate_looks": (
        {"type": "integer", "minimum": 0},
        "policies that the gate has decided on, rejected attempts included: each is a test on the "
        "same gate prompts",
    ),
    "certified": (
        _CERTIFIED,
        "the claim of a gate with gate.false_promotions: the probability of a false promotion in "
        "the campaign, decisions made and planned, gate prompts used and available, and what each "
        "decision rests on; null without it",
    ),
    "base": ({"type": "object", "additionalProperties": _NUMBER}, "metrics of the base policy"),
    "cost": (
        {"type": "object"},
        "cost of the whole campaign so far, its base included, at the current prices: the cost "
        "columns of a round",
    ),
    "rounds": ({"type": "array", "items": {"$ref": "#/$defs/round"}}, "the finished rounds"),
}
_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


def as_json(summary: CampaignSummary) -> dict[str, Any]:
    """What `ratchet status --json` prints. A missing number is null, never NaN."""
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
        "taken_back": [_plain(asdict(retraction)) for retraction in summary.retractions],
        "outdated": list(summary.outdated),
        "rolled_back": [asdict(rollback) for rollback in summary.rollbacks],
        "gate_looks": summary.gate_looks,
        "certified": _plain(certification_summary(summary)),
        "base": _plain(summary.base),
        "cost": _plain(summary.cost),
        "rounds": [_plain({**dict.fromkeys(names), **row}) for row in summary.rounds],
    }


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of `as_json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"ratchet status --json, version {VERSION}",
        "type": "object",
        "required": list(_TOP),
        "properties": {
            name: {**shape, "description": text} for name, (shape, text) in _TOP.items()
        },
        "$defs": {
            "round": {
                "type": "object",
                "required": [column.name for column in COLUMNS],
                "properties": {column.name: _column(column) for column in COLUMNS},
                "patternProperties": {
                    "^measure_": {**_NUMBER, "description": "a share that a judge measured"}
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
    if hasattr(value, "item"):  # a scalar of numpy, as pandas returns
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
