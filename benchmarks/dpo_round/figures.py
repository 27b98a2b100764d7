"""The sweep's figures: time and memory per pair over the length, as SVG files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_COLOURS = {"4:1": "#1b9e77", "1:1": "#d95f02", "1:4": "#7570b3"}


def draw(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write the two figures of a sweep's settings; returns their files."""
    from vl_convert import vegalite_to_svg

    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "dpo-round-time.svg": (times(rows), "CPU-seconds per pair"),
        "dpo-round-memory.svg": (_memory(rows), "MiB that the round adds"),
    }
    files = []
    for name, (values, unit) in drawn.items():
        path = folder / name
        path.write_text(vegalite_to_svg(json.dumps(spec(list(values), unit))), encoding="utf-8")
        files.append(path)
    return files


def spec(values: Sequence[Mapping[str, Any]], unit: str) -> dict[str, Any]:
    """Lines over the length on two logarithmic scales: one colour a ratio, one dash a kind."""
    lengths = sorted({value["length"] for value in values})
    ratios = list(dict.fromkeys(value["ratio"] for value in values))
    colours = [_COLOURS.get(ratio, "#666666") for ratio in ratios]
    encoding = {
        "x": {
            "field": "length",
            "type": "quantitative",
            "scale": {"type": "log", "base": 2, "nice": False},
            "axis": {"title": "tokens of prompt and one response", "values": lengths},
        },
        "y": {
            "field": "value",
            "type": "quantitative",
            "scale": {"type": "log", "nice": False},
            "axis": {"title": unit},
        },
        "color": {
            "field": "ratio",
            "type": "nominal",
            "scale": {"domain": ratios, "range": colours},
            "legend": {"title": "prompt:response"},
        },
    }
    dash = {"field": "kind", "type": "nominal", "legend": {"title": None}}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": "white",
        "width": 480,
        "height": 320,
        "data": {"values": list(values)},
        "encoding": encoding,
        "layer": [
            {"mark": "line", "encoding": {"strokeDash": dash}},
            {"mark": {"type": "point", "filled": True}},
        ],
    }


def times(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """What was measured, and the shortest pairs' time grown as useful operations grow."""
    yield from _measured(rows, "cpu_seconds_per_pair")
    first: dict[str, Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["length"]):
        shortest = first.setdefault(row["ratio"], row)
        grown = row["gflop_per_pair"] / shortest["gflop_per_pair"]
        value = grown * shortest["ratchet"]["cpu_seconds_per_pair"]
        yield _value(row, "useful operations", value)


def _memory(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from _measured(rows, "memory_mib")


def _measured(rows: Sequence[Mapping[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    for side in ("ratchet", "trl"):
        for row in rows:
            if side in row:
                yield _value(row, side, row[side][name])


def _value(row: Mapping[str, Any], kind: str, value: float) -> dict[str, Any]:
    return {"length": row["length"], "ratio": row["ratio"], "kind": kind, "value": value}
