"""One number, one scope: all surfaces say the same of a campaign, and it is what JSON says."""

import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_campaign import Campaign
from surfaces import (
    Key,
    Page,
    Readings,
    card_readings,
    compare_readings,
    plot_readings,
    sentence_readings,
    status_readings,
    terminal_tables,
)

from console.campaigns import ShownCampaign
from console.rows import campaign_row
from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.current import valid_steps
from flows.config import read_stored
from reporting.as_json import as_json
from reporting.card import PolicyFacts, model_card
from reporting.compare.render import render_comparison, render_page
from reporting.compare.sides import compare_sides, read_comparison
from reporting.report import render_report
from reporting.sections import sections
from reporting.sentences import incumbent_number
from reporting.summary import read_summary
from reporting.terminal import render_table

ROOT = Path(__file__).parents[2]
DIGITS = {"kl_base_nats": 2, "base_nats_per_token": 2, "length_mean": 1, "loss": 4, "entropy": 2}
SHARES = {
    *("accuracy", "relevance", "distinct_1", "distinct_2", "mfu", "padding_share"),
    *("truncated_share", "refusal_share", "repetition_share"),
}
COUNTS = {"prompts", "completions", "pairs", "steps", "tokens_in", "tokens_out", "labels"}


def written(metric: str, value: float) -> str:
    """A number as it should be written, apart from how `reporting` does it."""
    if metric in ("seconds", "cpu_seconds"):
        return duration(value)
    if metric in COUNTS or metric.endswith("_per_second"):
        return f"{value:,.0f}"
    sign = "+" if metric == "rating" else ""
    if metric in SHARES or "win_rate" in metric:
        text = f"{100 * value:.1f}%"
    else:
        digits = 2 if metric in ("rating", "train_peak_memory_gib") else DIGITS.get(metric, 3)
        text = f"{value:{sign}.{digits}f}"
    return text.replace("-", "−" if re.search("[1-9]", text) else "")


def duration(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min"


def interval(metric: str, value: float, low: float | None, high: float | None) -> str:
    text = written(metric, value)
    if low is None or high is None:
        return text
    return f"{text} [{', '.join(written(metric, end).rstrip('%') for end in (low, high))}]"


def json_readings(told: Mapping[str, Any], wanted: set[Key]) -> Readings:
    """What JSON says of the metrics that other surfaces show."""
    ratings = next((row["ratings"] for row in reversed(told["rounds"]) if row["ratings"]), {})
    whole = told["cost"]
    for metric, of in wanted:
        row = next((row for row in told["rounds"] if str(row["round"]) == of), None)
        if metric == "rating":
            found = ratings["0" if of == "base" else of]
            yield (metric, of), interval(metric, found["estimate"], found["low"], found["high"])
        elif of == "base":
            base = told["base"].get(metric)
            yield (metric, of), "–" if base is None else written(metric, base)
        elif metric == "seconds":
            by_step = (whole if row is None else row)["cost_by_step"].values()
            yield (metric, of), duration(sum(step["seconds"] for step in by_step))
        elif metric == "labels":
            by_source = (whole if row is None else row)["labels_by_source"]
            yield (metric, of), written(metric, sum(by_source.values()))
        elif row is None:
            yield (metric, of), written(metric, whole[metric])
        else:
            ends = (row.get(f"{metric}_{end}") for end in ("low", "high"))
            yield (metric, of), interval(metric, row[metric], *ends)


def printed(what: Any) -> str:
    screen = io.StringIO()
    Console(file=screen, width=240).print(what, crop=False)
    return screen.getvalue()


def console_readings(campaign: Campaign, number: int) -> Readings:
    root = campaign.layout.root
    row = campaign_row(ShownCampaign("id", root, read_summary(root, samples=False), None))
    yield ("win_rate_base", str(number)), row.win_rate
    yield ("kl_base_nats", str(number)), row.kl
    for metric, text in zip(("seconds", "cpu_seconds"), row.cost.split(", "), strict=True):
        yield (metric, "all"), text.partition(" of ")[0]


def surfaces(campaign: Campaign, other: Campaign) -> Iterator[tuple[str, Key, str]]:
    root = campaign.layout.root
    summary = read_summary(root)
    number = incumbent_number(summary)
    status = printed(render_table(summary))
    page = Page(render_report(summary))
    sides = read_comparison([root, other.layout.root]).sides
    two = compare_sides(
        [replace(side, label=label) for side, label in zip(sides, "ab", strict=True)]
    )
    steps = [
        current_artifact(campaign.layout, number, s) for s in valid_steps(campaign.layout, number)
    ]
    row = summary.row(number)
    assert row is not None
    entries = [step.entry for step in steps if step is not None]
    card = model_card(PolicyFacts(summary, read_stored(campaign.layout), row, entries))
    told = json.loads(json.dumps(as_json(summary), allow_nan=False))
    found: Mapping[str, Readings] = {
        "status": status_readings(terminal_tables(status)),
        "status, sentences": sentence_readings(status),
        "report": status_readings(page.tables),
        "report, sentences": sentence_readings(page.text),
        "report, plots": plot_readings(page),
        "compare": compare_readings(terminal_tables(printed(render_comparison(two))), 1),
        "compare, page": compare_readings(Page(render_page(two)).tables, 1),
        "card": card_readings(card, number),
        "card, sentences": sentence_readings(card),
        "json, headline": sentence_readings(str(told["headline"])),
        "console": console_readings(campaign, number),
    }
    read = [(name, key, text) for name, readings in found.items() for key, text in readings]
    yield from read
    wanted = {key for _, key, _ in read if key[1] != "other"}
    yield from (("json", key, text) for key, text in json_readings(told, wanted))


def differences(read: Iterator[tuple[str, Key, str]]) -> tuple[list[str], Mapping[Key, set[str]]]:
    """What differs, and which surfaces show which number."""
    texts: dict[Key, dict[str, str]] = defaultdict(dict)
    shown: dict[Key, set[str]] = defaultdict(set)
    different = []
    for surface, key, text in read:
        shown[key].add(surface)
        plain = re.sub(r"\[[\d.]+% CI ", "[", text)
        if plain == "–":
            continue
        for other, seen in texts[key].items():
            short, long = sorted((plain, seen), key=len)
            if short not in (long, long.partition(" [")[0]):
                different.append(f"{key}: {surface} {plain!r}, {other} {seen!r}")
        texts[key][surface] = plain
    return different, shown


def test_every_surface_says_the_same(finished: Campaign, copy: Campaign) -> None:
    different, shown = differences(surfaces(finished, copy))
    assert different == []
    everywhere = {"status", "report", "compare", "compare, page", "card", "json"}
    for metric in ("win_rate_base", "win_rate_previous", "kl_base_nats", "rating", "length_mean"):
        assert shown[metric, "2"] >= everywhere, metric
        assert "report, plots" in shown[metric, "2"] or metric == "win_rate_base"
    assert shown["win_rate_base", "2"] >= {
        *("status, sentences", "report, sentences", "json, headline", "console"),
    }
    costs = {"status", "report", "status, sentences", "compare", "compare, page", "json"}
    for metric in ("seconds", "cpu_seconds", "tokens_out", "labels"):
        assert shown[metric, "all"] >= costs, metric
    assert len(shown) > 80  # of the base, two rounds and the whole


def test_readme_agrees_with_itself() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- demo-output:begin -->")[2].partition("<!-- demo-output:end -->")[0]
    read = [
        *(("table", *reading) for reading in status_readings(terminal_tables(shown))),
        *(("sentences", *reading) for reading in sentence_readings(shown)),
    ]
    different, found = differences(iter(read))
    assert different == []
    for key in (("win_rate_base", "3"), ("kl_base_nats", "3"), ("seconds", "all")):
        assert found[key] == {"table", "sentences"}, key


@pytest.mark.parametrize("number", ["1", "2"])
def test_a_difference_would_be_found(finished: Campaign, copy: Campaign, number: str) -> None:
    read = list(surfaces(finished, copy))
    place = next(
        n for n, (at, key, _) in enumerate(read) if (at, key) == ("status", ("rating", number))
    )
    read[place] = (*read[place][:2], "+9.87 [+9.00, +9.99]")
    different, _ = differences(iter(read))
    assert different and all("rating" in one for one in different)


def test_mfu_is_of_one_peak(finished: Campaign) -> None:
    rows = read_summary(finished.layout.root, samples=False).rounds
    peaks = [(row.train_flops_per_second or 0) / (row.mfu or 1) for row in rows]
    assert peaks == pytest.approx([peaks[0]] * len(rows)) and len(rows) == 2
    facts = [finished.artifact(row.round, "training").entry.facts for row in rows]
    assert facts[0]["peak_of"] == facts[1]["peak_of"] != ""
    assert facts[0]["peak_flops"] == facts[1]["peak_flops"] == pytest.approx(peaks[0])
    [speed] = [s for s in sections(read_summary(finished.layout.root)) if "fast" in s.title]
    assert "anew" not in speed.note
    first = rows[0].model_copy(update={"mfu": 2 * (rows[0].mfu or 0)})  # as before 0.2
    older = replace(read_summary(finished.layout.root), rounds=(first, rows[1]))
    [speed] = [s for s in sections(older) if "fast" in s.title]
    assert "measured anew in each round: do not compare rounds" in speed.note
