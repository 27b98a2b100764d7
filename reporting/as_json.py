"""A campaign for programs: what `ratchet status --json` prints, and its JSON schema.

VERSION grows if a key is removed or renamed, or changes its meaning or type. New keys leave it
unchanged: a program must ignore keys that it does not know.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict

from dpo_core.campaign.metric_columns import COLUMNS, JSON_COLUMNS, Column
from reporting.certification import (
    BY_A_PERSON,
    CERTIFIED,
    NOT_CERTIFIED,
    ON_SET,
    certification_summary,
)
from reporting.sentences import failure_sentence, headline
from reporting.summary import CampaignSummary
from reporting.verdicts import judge_campaign

VERSION = 1

Schema = Mapping[str, object]
"""A JSON schema, or part of one."""


def _object(kind: str | list[str] = "object", /, **properties: Schema) -> Schema:
    """Of an object that has all of these keys."""
    return {"type": kind, "required": list(properties), "properties": properties}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_NUMBER, _TEXT = {"type": ["number", "null"]}, {"type": "string"}
_WHOLE, _OR_NULL = {"type": "integer"}, ["object", "null"]
_TAKEN_BACK = _object(source=_TEXT, rounds=_array(_WHOLE), used=_array(_WHOLE), by=_TEXT, at=_TEXT)
_ROLLED_BACK = _object(after=_WHOLE, to=_WHOLE, by=_TEXT, at=_TEXT, why=_TEXT)
_STOPPED = _object(_OR_NULL, rule=_TEXT, sentence=_TEXT)
_RESTS_ON = {"enum": [CERTIFIED, ON_SET, NOT_CERTIFIED, BY_A_PERSON]}
_CERTIFIED = _object(
    _OR_NULL,
    false_promotions={"type": "number"},
    decisions=_WHOLE,
    planned=_WHOLE,
    prompts_used=_WHOLE,
    prompts=_WHOLE,
    rounds=_array(_object(round=_WHOLE, rests_on=_RESTS_ON)),
    sentence=_TEXT,
)
_TOP: Mapping[str, tuple[Schema, str]] = {
    "version": ({"const": VERSION}, "version of this format"),
    "name": (_TEXT, "name of the campaign"),
    "directory": (_TEXT, "folder of the campaign, as given"),
    "state": (
        {"enum": ["finished", "running", "waiting", "stopped"]},
        "waiting: for people; stopped: no process runs it, and rounds remain",
    ),
    "rounds_planned": ({"type": "integer", "minimum": 1}, "rounds in the config"),
    "doing": (_TEXT, "what runs now, or what people are asked for; otherwise empty"),
    "verdict": (
        _TEXT,
        "of the last round: promoted, promoted with warnings, promoted, not certified, refused, "
        "awaiting decision, or collapsed; no round yet before there is one",
    ),
    "failure": (_TEXT, "why the last run failed, and what to do; empty if it did not"),
    "headline": (_TEXT, "the result so far, in one to three sentences"),
    "stopped": (_STOPPED, "the rule that ended the campaign early, and why; null if none did"),
    "taken_back": (
        _array(_TAKEN_BACK),
        "retracted sources: in which rounds, which of these had judgements of it, by whom",
    ),
    "outdated": (
        _array(_WHOLE),
        "rounds to be run again after a retraction",
    ),
    "rolled_back": (
        _array(_ROLLED_BACK),
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
    "rounds": (_array({"$ref": "#/$defs/round"}), "the finished rounds"),
}
_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


def as_json(summary: CampaignSummary) -> dict[str, object]:
    """What `ratchet status --json` prints. A missing number is null, never NaN."""
    certified = certification_summary(summary)
    return {
        "version": VERSION,
        "name": summary.name,
        "directory": summary.directory,
        "state": summary.state,
        "rounds_planned": summary.rounds_planned,
        "doing": summary.doing,
        "verdict": judge_campaign(summary).text,
        "failure": failure_sentence(summary),
        "headline": headline(summary),
        "stopped": asdict(summary.stopped) if summary.stopped is not None else None,
        "taken_back": [_plain(asdict(retraction)) for retraction in summary.retractions],
        "outdated": list(summary.outdated),
        "rolled_back": [asdict(rollback) for rollback in summary.rollbacks],
        "gate_looks": summary.gate_looks,
        "certified": _plain(asdict(certified)) if certified is not None else None,
        "base": _plain(summary.base),
        "cost": _plain(summary.cost.model_dump(exclude_unset=True)),
        "rounds": rounds_as_json(summary),
    }


def rounds_as_json(summary: CampaignSummary) -> list[dict[str, object]]:
    """The metrics of each finished round, with every column."""
    return [{name: _plain(value) for name, value in row.whole().items()} for row in summary.rounds]


def schema() -> Schema:
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


def _column(column: Column) -> Schema:
    kinds = ["object", "array"] if column.name in JSON_COLUMNS else [_TYPES[column.kind]]
    return {"type": [*kinds, "null"], "description": column.meaning.removeprefix("JSON: ")}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
