"""The figure: reward and win rate over KL to the base, one column for each group of arms."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.frontier.arms import ARMS
from benchmarks.frontier.run import Result

PANELS: Mapping[str, tuple[str, ...]] = {
    "reference, rounds, TRL": ("reset", "fixed", "ema", "offline", "trl"),
    "soft targets and noise": (
        *("reset", "soft", "noise10", "noise10-soft", "noise30", "noise30-soft"),
        *("votes30", "votes30-soft"),
    ),
    "gate": ("reset", "ungated", "strict", "noise30", "noise30-ungated", "noise30-strict"),
}
MEASURES = {"score_mean": "mean score", "win_rate_base": "win rate vs base"}
_COLOURS = (
    *("#1b6ca8", "#d95f02", "#1b9e77", "#7570b3", "#e7298a"),
    *("#66a61e", "#a6761d", "#555555"),
)


def draw(results: Sequence[Result], path: Path) -> None:
    """Write the figure as SVG."""
    from vl_convert import vegalite_to_svg

    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = vegalite_to_svg(json.dumps(spec(results)), vl_version="6.4")
    path.write_text(f"{drawn}\n", encoding="utf-8")


def spec(results: Sequence[Result]) -> dict[str, Any]:
    """Small points: the rounds of one seed with their intervals; lines: the mean over seeds."""
    finished = [result for result in results if result.failed is None]
    columns = []
    for title, names in PANELS.items():
        shown = [result for result in finished if result.arm in names]
        if shown:
            columns.append(_column(title, names, shown))
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": "white",
        "hconcat": columns,
        "resolve": {"scale": {"color": "independent"}},
    }


def _column(title: str, names: Sequence[str], results: Sequence[Result]) -> dict[str, Any]:
    there = [name for name in names if any(r.arm == name for r in results)]
    colour = {
        "field": "arm",
        "type": "nominal",
        "scale": {"domain": [ARMS[n].title for n in there], "range": list(_COLOURS[: len(there)])},
        "legend": {"title": None, "orient": "bottom", "columns": 1, "labelLimit": 260},
    }
    rows = [_panel(results, measure, unit, colour) for measure, unit in MEASURES.items()]
    return {"title": title, "vconcat": rows}


def _panel(
    results: Sequence[Result], measure: str, unit: str, colour: Mapping[str, Any]
) -> dict[str, Any]:
    x = {"type": "quantitative", "title": "KL to the base, nats", "scale": {"type": "sqrt"}}
    y = {"type": "quantitative", "title": unit, "scale": {"zero": False}}
    across, up = {"field": "kl", **x}, {"field": "value", **y}
    return {
        "width": 250,
        "height": 190,
        "encoding": {"color": colour},
        "layer": [
            {
                "data": {"values": list(_points(results, measure))},
                "mark": {"type": "rule", "opacity": 0.25},
                "encoding": {"x": across, "y": {"field": "low", **y}, "y2": {"field": "high"}},
            },
            {
                "data": {"values": list(_points(results, measure))},
                "mark": {"type": "point", "filled": True, "size": 16, "opacity": 0.6},
                "encoding": {"x": across, "y": up},
            },
            {
                "data": {"values": list(_means(results, measure))},
                "mark": {"type": "line", "strokeWidth": 1.5, "point": {"size": 45}},
                "encoding": {"x": across, "y": up, "order": {"field": "round"}},
            },
        ],
    }


def _points(results: Sequence[Result], measure: str) -> Iterator[dict[str, Any]]:
    for result in results:
        for row in result.rounds:
            yield {
                "arm": ARMS[result.arm].title,
                "kl": row["kl_base_nats"],
                "value": row[measure],
                "low": row[f"{measure}_low"],
                "high": row[f"{measure}_high"],
            }


def _means(results: Sequence[Result], measure: str) -> Iterator[dict[str, Any]]:
    for name in dict.fromkeys(result.arm for result in results):
        of_arm = [result for result in results if result.arm == name]
        for place in range(min(len(result.rounds) for result in of_arm)):
            rows = [result.rounds[place] for result in of_arm]
            yield {
                "arm": ARMS[name].title,
                "round": place + 1,
                "kl": fmean(row["kl_base_nats"] for row in rows),
                "value": fmean(row[measure] for row in rows),
            }
