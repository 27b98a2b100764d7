"""What speaks for or against believing a round's win rate."""

from collections.abc import Callable, Mapping
from typing import Any

from reporting.cells import TableSection, percent, with_interval
from reporting.numbers import MISSING, Row, lowest_kappa, number
from reporting.summary import CampaignSummary
from reporting.tables.by_round import Column, by_round


def trust(summary: CampaignSummary) -> TableSection:
    """Can I trust it?"""
    columns: list[Column] = [
        ("wins at equal length %", _controlled),
        ("decided %", _decided),
        ("κ with people", _kappa),
        ("forgotten", _of("forgotten", lambda f: f"{f.get('count', 0)} of {f.get('compared', 0)}")),
        ("slices worse", _of("slices", lambda s: _count(s, "flagged"))),
        ("suites failed", _of("suites", lambda s: _count(s, "failed"))),
        ("cycles", lambda row: str(len(row["cycles"])) if row.get("cycles") is not None else None),
        ("overlap", _of("overlap", lambda o: f"{o.get('prompts', 0)} of {o.get('of', 0)}")),
        ("warnings", lambda row: str(len(row.get("warnings") or {}))),
    ]
    note = (
        "wins against the base · decided: of the gate's comparisons · κ: lowest of the judges · "
        "forgotten: prompts answered worse than by an earlier round · overlap: held-out prompts "
        "that share long passages with training"
    )
    return by_round("Can I trust it?", note, summary, columns, MISSING)


def _interval(name: str) -> Callable[[Row], str | None]:
    def write(row: Row) -> str | None:
        return None if number(row, name) is None else with_interval(row, name, percent)

    return write


def _controlled(row: Row) -> str | None:
    said = _interval("lc_win_rate_base")(row)
    return f"{said} extrapolated" if said and row.get("lc_win_rate_base_extrapolated") else said


def _decided(row: Row) -> str | None:
    """Of the gate's comparisons, where some were not."""
    found = (row.get("decided") or {}).get("gate") or {}
    of, decided = found.get("comparisons") or 0, found.get("decided") or 0
    return percent(decided / of) if decided < of else None


def _of(name: str, write: Callable[[Mapping[str, Any]], str]) -> Callable[[Row], str | None]:
    def written(row: Row) -> str | None:
        found = row.get(name)
        return write(found) if isinstance(found, Mapping) and found else None

    return written


def _count(found: Mapping[str, Any], name: str) -> str:
    return f"{sum(bool(one.get(name)) for one in found.values())} of {len(found)}"


def _kappa(row: Row) -> str | None:
    lowest = lowest_kappa(row)
    return None if lowest is None else f"{lowest:.2f}"
