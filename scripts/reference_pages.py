"""The reference pages of the site, made from the code when the site is built: every config key,
every command, and the functions that are called from Python."""

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import click
from typer.main import get_command

PUBLIC = {
    "Records that a judge gets and gives": (
        "dpo_core.records",
        ("Completion", "Pair", "Prompt", "Score", "Judgement", "Cost"),
    ),
    "Statistics of an evaluation": (
        "dpo_core.evaluation",
        ("win_rate", "length_controlled_win_rate", "bradley_terry", "Interval"),
    ),
    "What a loss of your own is given": (
        "dpo_core.preference.terms",
        ("Terms",),
    ),
}
"""Heading → module, and what of it is meant to be used."""

CONFIG_HEAD = """# Config

Every key of a campaign's YAML file, made from the models that check it. `--set SECTION.KEY=VALUE`
overrides one. Only `name`, `policy`, `prompts` and `judge` are required. An unknown key, a wrong
type or an impossible combination ends with exit code 2 before anything is written.

`auto` means that Ratchet chooses; the run says what it chose, and the ledger records it.
"""
CLI_HEAD = """# Commands

Made from the command line's own help. Exit codes: 0 finished, 1 failed, 2 bad input (nothing was
written), 75 waits for people, 130 interrupted.
"""
API_HEAD = """# Python

What judges, losses and scripts of your own may import. Everything else may change without notice.
"""

Schema = Mapping[str, Any]


def config_page() -> str:
    from flows.config import CampaignConfig

    schema = CampaignConfig.model_json_schema()
    parts = [CONFIG_HEAD, "## The file", _table(schema, schema["$defs"])]
    for title, definition in _sections(schema):
        parts += [f"## {title}", _prose(definition), _table(definition, schema["$defs"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def undescribed_keys() -> list[str]:
    """Config keys of which the reference says nothing; sections describe themselves."""
    from flows.config import CampaignConfig

    schema = CampaignConfig.model_json_schema()
    return [
        f"{title}.{key}"
        for title, definition in [("", schema), *_sections(schema)]
        for key, field in definition["properties"].items()
        if not _meaning(field, schema["$defs"])
    ]


def _sections(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Each section with its heading, in the order of the file, each before those within it."""
    seen: dict[str, str] = {}
    waiting = [(key, name) for key, f in schema["properties"].items() for name in _refs(f)]
    while waiting:
        path, name = waiting.pop(0)
        definition = schema["$defs"][name]
        if name in seen or "properties" not in definition:
            continue
        kind = definition["properties"].get("kind", {}).get("const")
        title = f"{path}, kind: {kind}" if kind else path
        if title in seen.values():  # another form of the same key: told apart by its own keys
            title += f" ({', '.join(definition['properties'])})"
        seen[name] = title
        yield title, definition
        inner = [(key, ref) for key, f in definition["properties"].items() for ref in _refs(f)]
        waiting[:0] = [(f"{path}.{key}", ref) for key, ref in inner]


def _refs(field: Any) -> list[str]:
    return list(dict.fromkeys(re.findall(r'"#/\$defs/(\w+)"', json.dumps(field))))


def _prose(definition: Schema) -> str:
    """The docstring of a section, without the examples of doctests."""
    text = re.sub(r"\n+Example:\n.*", "", definition.get("description", ""), flags=re.DOTALL)
    return "" if text.startswith("!!!") else text


def _table(definition: Schema, others: Mapping[str, Schema]) -> str:
    required = definition.get("required", ())
    rows = [
        f"| `{key}` | {_kind(field, others)} | {_default(key, field, required)} "
        f"| {_cell(_meaning(field, others))} |"
        for key, field in definition["properties"].items()
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def _meaning(field: Schema, others: Mapping[str, Schema]) -> str:
    if text := field.get("description"):
        return str(text)
    first = [_prose(others[name]).split("\n\n")[0] for name in _refs(field)]
    return next((text.replace("\n", " ") for text in first if text), "")


def _default(key: str, field: Schema, required: tuple[str, ...]) -> str:
    if key in required:
        return "**required**"
    value = field.get("default")
    if value is None:
        return ""
    if isinstance(value, dict) or "$ref" in field:
        return "its own defaults"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _kind(field: Schema, others: Mapping[str, Schema]) -> str:
    """A type as words: `number > 0`, `one of a, b`, or the section that it is."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return "section" if "properties" in others[name] else _kind(others[name], others)
    for key in ("anyOf", "oneOf"):
        if key in field:
            kinds = [_kind(one, others) for one in field[key] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kind for kind in kinds if kind))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{one}`" for one in field["enum"])
    if field.get("type") == "array":
        items = field.get("items") or {}
        return f"list of {_kind(items, others)}" if items else "list"
    if field.get("type") == "object":
        return "mapping"
    return " ".join([_WORDS.get(field.get("type", ""), "any"), *_bounds(field)])


_WORDS = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true, false"}


def _bounds(field: Schema) -> Iterator[str]:
    if "minimum" in field and "maximum" in field:
        yield f"{field['minimum']:g} to {field['maximum']:g}"
        return
    for key, sign in (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    ):
        if key in field:
            yield f"{sign} {field[key]:g}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def cli_page() -> str:
    from flows.cli import app

    parts = [CLI_HEAD]
    for name, command in _commands("ratchet", get_command(app)):
        context = click.Context(command, info_name=name)
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        usage = re.sub(r"[{}]", "", usage)
        parts += [f"## {name}", f"```text\n{usage}\n```", _paragraphs(command.help or "")]
        parts.append(_parameters(command, context))
    return "\n\n".join(part for part in parts if part) + "\n"


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    inner: Mapping[str, click.Command] = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for key in inner:
        yield from _commands(f"{name} {key}", inner[key])


def _paragraphs(text: str) -> str:
    return text.replace("\f", "").strip()


def _parameters(command: click.Command, context: click.Context) -> str:
    rows = []
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record and "--help" not in parameter.opts:
            name, text = (" ".join(one.split()).replace("|", "\\|") for one in record)
            rows.append(f"| `{name}` | {html.escape(text)} |")
    return "\n".join(["| argument or option | meaning |", "|---|---|", *rows]) if rows else ""


def api_page() -> str:
    parts = [API_HEAD]
    for heading, (module, names) in PUBLIC.items():
        parts += [f"## {heading}", *(f"::: {module}.{name}" for name in names)]
    return "\n\n".join(parts) + "\n"


PAGES = {
    "reference/config.md": config_page,
    "reference/cli.md": cli_page,
    "reference/api.md": api_page,
}
