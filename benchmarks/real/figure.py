"""The figure: followed share and relevance over KL to the base, round by round."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.real.arms import ARMS
from benchmarks.real.numbers import share
from benchmarks.real.results import BASE, Result

_MEASURES = {
    "followed": "answers that follow all instructions, %",
    "relevant": "answers whose request the base finds among 8, %",
}
_COLOURS = ("#1b6ca8", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e")


def draw(results: Sequence[Result], path: Path) -> None:
    """Write the figure as SVG."""
    from vl_convert import vegalite_to_svg

    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = vegalite_to_svg(json.dumps(spec(results)), vl_version="6.4")
    path.write_text(f"{drawn}\n", encoding="utf-8")


def spec(results: Sequence[Result]) -> dict[str, Any]:
    """A line per result from the base on; rounds that were refused are hollow."""
    panels = [_panel(list(_points(results, name)), title) for name, title in _MEASURES.items()]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": "white",
        "hconcat": panels,
    }


def name_of(result: Result) -> str:
    """Of a line."""
    arm = "" if result.arm == "rounds" else f"{ARMS[result.arm].title}, "
    return f"{arm}seed {result.seed}"


def _panel(points: Sequence[dict[str, Any]], title: str) -> dict[str, Any]:
    x = {"field": "kl", "type": "quantitative", "title": "KL to the base, nats"}
    y: dict[str, Any] = {"type": "quantitative", "title": title, "scale": {"zero": False}}
    names = list(dict.fromkeys(point["of"] for point in points))
    colour = {
        "field": "of",
        "type": "nominal",
        "scale": {"domain": names, "range": list(_COLOURS[: len(names)])},
        "legend": {
            "title": None,
            "orient": "bottom",
            "columns": 3,
            "labelLimit": 300,
            "symbolOpacity": 1,
        },
    }
    value = {"field": "value", **y}
    return {
        "width": 320,
        "height": 260,
        "data": {"values": list(points)},
        "encoding": {"x": x, "color": colour},
        "layer": [
            {
                "mark": {"type": "rule", "opacity": 0.35},
                "encoding": {"y": {"field": "low", **y}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "strokeWidth": 1.5},
                "encoding": {"y": value, "order": {"field": "round"}},
            },
            {
                "mark": {"type": "point", "size": 55, "strokeWidth": 1.5},
                "encoding": {
                    "y": value,
                    "fill": {
                        "condition": {**colour, "test": "datum.promoted"},
                        "value": "white",
                    },
                },
            },
        ],
    }


def _points(results: Sequence[Result], name: str) -> Iterator[dict[str, Any]]:
    for result in results:
        begins = {"round": BASE, "promoted": True, "kl_base_nats": 0.0}
        for row in (begins, *result.rounds):
            found = share(result.trained, row["round"], name)
            if found is not None and row["kl_base_nats"] is not None:
                yield {
                    "of": name_of(result),
                    "round": row["round"],
                    "promoted": row["promoted"],
                    "kl": row["kl_base_nats"],
                    "value": 100 * found.estimate,
                    "low": 100 * found.low,
                    "high": 100 * found.high,
                }
