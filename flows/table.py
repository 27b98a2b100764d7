"""What a campaign's numbers say: in sentences, as tables for a terminal, as JSON.

`sections` decides which numbers stand together and how each is written; the terminal and the HTML
report both show exactly these tables, so they can never disagree.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dpo_core.evaluation.round_metrics import COLUMNS
from flows.summary import CampaignSummary

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

Row = Mapping[str, Any]

MISSING = "–"
STEPS = ("start", "sample", "judge", "train", "evaluate")
LENGTH_RATIO = 1.25
"""Mean lengths further apart than this are pointed out: judges are known to prefer long answers."""
TRUNCATED_RISE = 0.05
_GAP = 2
_NAME = 36


@dataclass(frozen=True)
class Section:
    """One table: the first cell of each row names it, the others are numbers already written."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


# ---- numbers -------------------------------------------------------------------------------------


def number(row: Row, name: str) -> float | None:
    """The finite number under `name`, or None if there is none."""
    value = row.get(name)
    if value is None or isinstance(value, str):
        return None
    return float(value) if math.isfinite(value) else None


def measures(summary: CampaignSummary) -> tuple[str, ...]:
    """Names of what the judge measured, without their prefix, in order of appearance."""
    found: dict[str, None] = {}
    for row in summary.rounds:
        found.update(
            (name.removeprefix("measure_"), None) for name in row if _is_measure(name, row)
        )
    return tuple(found)


def _is_measure(name: str, row: Row) -> bool:
    """`measure_x_base` belongs to `measure_x`, unless there is no such measure."""
    stem = re.sub(r"_(previous|base)$", "", name)
    return name.startswith("measure_") and (stem == name or stem not in row)


def base_number(summary: CampaignSummary, name: str) -> float | None:
    """A statistic of the base policy, wherever the campaign wrote it down."""
    value = number(summary.base, name)
    for row in summary.rounds:
        value = number(row, f"{name}_base") if value is None else value
    return value


def dropped(row: Row) -> Mapping[str, int]:
    counts: Mapping[str, int] = row.get("dropped") or {}
    return counts


def visible(text: str) -> str:
    """`text` with every character that could act on a screen shown by number, as ⟨U+001B⟩.

    Controls (NUL, ANSI escapes), bidirectional overrides, invisible characters and lone
    surrogates; newlines and tabs stay.
    """
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    code = ord(character)
    if character in "\n\t\u200c\u200d" or 0x20 <= code < 0x7F:
        return character
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return f"⟨U+{code:04X}⟩"
    return character


# ---- sentences -----------------------------------------------------------------------------------


def headline(summary: CampaignSummary) -> str:
    """What the campaign has reached so far, in one or two sentences."""
    if not summary.rounds:
        return "No round has finished yet."
    promoted = [row for row in summary.rounds if row.get("promoted")]
    row = promoted[-1] if promoted else summary.rounds[-1]
    said = _against_base(row)
    if not promoted:
        return f"No round was promoted, the base policy stands. {said}"
    refused = [str(other["round"]) for other in summary.rounds if other["round"] > row["round"]]
    if refused:
        later = "Rounds " + ", ".join(refused) if len(refused) > 1 else "Round " + refused[0]
        return f"{said} {later} did not improve on it."
    return said


def _against_base(row: Row) -> str:
    rate, low, high = (number(row, "win_rate_base" + end) for end in ("", "_low", "_high"))
    name = f"Round {row['round']}"
    if rate is None:
        return f"{name} has not been compared with the base."
    share = f"{_percent_interval(row, 'win_rate_base')} of {_prompts(row, 'test', 'held-out')}"
    if low is not None and low > 0.5:
        said = f"{name} beats the base on {share}"
    elif high is not None and high < 0.5:
        said = f"{name} is worse than the base: it wins on only {share}"
    else:
        said = f"{name} is not clearly better than the base: it wins on {share}"
    kl = number(row, "kl_base_nats")
    return said + ("." if kl is None else f"; KL to base {_nats(kl)} nats.")


def verdict(row: Row) -> str:
    """Why the round's policy was promoted or not, and where it stands."""
    gate = number(row, "win_rate_gate")
    said = "Promoted" if row.get("promoted") else "Not promoted"
    if gate is None:
        return f"{said}. {_against_base(row)}"
    word = "won" if row.get("promoted") else "won only"
    share = f"{_percent_interval(row, 'win_rate_gate')} of {_prompts(row, 'gate', 'gate')}"
    return f"{said}: {word} {share} against the previous policy. {_against_base(row)}"


def cautions(summary: CampaignSummary, row: Row) -> tuple[str, ...]:
    """What a reader should look at before believing the round's win rate."""
    found = []
    length, base_length = number(row, "length_mean"), base_number(summary, "length_mean")
    if length and base_length and not 1 / LENGTH_RATIO <= length / base_length <= LENGTH_RATIO:
        change = 100 * (length / base_length - 1)
        word = "longer" if change > 0 else "shorter"
        found.append(
            f"Answers are {abs(change):.0f} % {word} than the base's "
            f"({length:.0f} against {base_length:.0f} tokens): "
            "read them before trusting the win rate."
        )
    cut, base_cut = number(row, "truncated_share"), base_number(summary, "truncated_share")
    if cut is not None and cut - (base_cut or 0.0) > TRUNCATED_RISE:
        found.append(
            f"{100 * cut:.0f} % of the answers are cut at the length limit "
            f"(base {100 * (base_cut or 0.0):.0f} %)."
        )
    return tuple(found)


def _percent_interval(row: Row, name: str) -> str:
    value, low, high = (number(row, name + end) for end in ("", "_low", "_high"))
    if value is None:
        return MISSING
    if low is None or high is None:
        return f"{100 * value:.0f} %"
    return f"{100 * value:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _prompts(row: Row, split: str, word: str) -> str:
    count = number(row, f"{split}_prompts")
    return f"{word} prompts" if count is None else f"{count:.0f} {word} prompts"


def _nats(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def progress(summary: CampaignSummary) -> str:
    done = len(summary.rounds)
    said = f"{done} of {summary.rounds_planned} rounds done"
    return f"{said}, now {visible(summary.doing)}" if summary.doing else said


# ---- tables --------------------------------------------------------------------------------------


def sections(summary: CampaignSummary) -> tuple[Section, ...]:
    """The campaign's numbers as tables, without those that would be empty."""
    if not summary.rounds:
        return ()
    made = (
        _better(summary),
        _answers(summary),
        _trained(summary),
        _dropped(summary),
        _time(summary),
    )
    return tuple(section for section in made if section.rows)


def _better(summary: CampaignSummary) -> Section:
    tests = number(summary.rounds[-1], "test_prompts")
    on = "test prompts" if tests is None else f"{tests:.0f} test prompts"
    rows = [
        (
            _cell(row, "round", _count),
            _with_interval(row, "win_rate_base", _percent),
            _with_interval(row, "win_rate_previous", _percent),
            _with_error(row, "kl_base_nats"),
            _with_error(row, "kl_previous_nats"),
            "yes" if row.get("promoted") else "no",
        )
        for row in summary.rounds
    ]
    header = (
        "round",
        "wins vs base %",
        "wins vs previous %",
        "KL to base",
        "KL to prev.",
        "promoted",
    )
    note = f"{on} · [confidence interval] · ties count half · KL: nats ± s.e."
    return Section("Is it better?", note, header, tuple(rows))


def _answers(summary: CampaignSummary) -> Section:
    shown: list[tuple[str, str, Callable[[float], str]]] = [
        ("length_mean", "mean length", "{:.1f}".format),
        ("truncated_share", "truncated %", _percent),
        ("score_mean", "score", "{:.3f}".format),
    ]
    shown += [(f"measure_{name}", f"{visible(name)} %", _percent) for name in measures(summary)]
    shown = [one for one in shown if any(number(row, one[0]) is not None for row in summary.rounds)]
    base = {name: base_number(summary, name) for name, _, _ in shown}
    rows = [("base", *(_cell(base, name, write) for name, _, write in shown))]
    rows += [
        (
            _cell(row, "round", _count),
            *(_with_interval(row, name, write) for name, _, write in shown),
        )
        for row in summary.rounds
    ]
    note = "on the same test prompts · length in tokens · [confidence interval]"
    return Section(
        "What are the answers like?", note, ("round", *(one[1] for one in shown)), tuple(rows)
    )


def _trained(summary: CampaignSummary) -> Section:
    shown: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("round", "round", _count),
        ("prompts", "prompts", _count),
        ("completions", "completions", _count),
        ("pairs", "pairs kept", _count),
        ("steps", "steps", _count),
        ("loss", "loss", "{:.4f}".format),
        ("accuracy", "accuracy %", _percent),
        ("margin", "margin", "{:.3f}".format),
    )
    rows = [tuple(_cell(row, name, write) for name, _, write in shown) for row in summary.rounds]
    note = "accuracy: pairs with margin > 0 · margin: chosen − rejected log-ratio, nats"
    return Section("What was trained", note, tuple(one[1] for one in shown), tuple(rows))


def _dropped(summary: CampaignSummary) -> Section:
    reasons = dict.fromkeys(reason for row in summary.rounds for reason in dropped(row))
    rows = [
        (visible(reason), *(str(int(dropped(row).get(reason, 0))) for row in summary.rounds))
        for reason in reasons
    ]
    header = ("reason", *(f"round {row['round']}" for row in summary.rounds))
    return Section("What was dropped, and why", "counts per round", header, tuple(rows))


def seconds(row: Row) -> dict[str, float | None]:
    """Seconds per step; `other` is what the round took beyond its steps."""
    steps = {step: number(row, f"seconds_{step}") for step in STEPS}
    whole = number(row, "seconds_round")
    known = sum(value for value in steps.values() if value is not None)
    return {**steps, "other": None if whole is None else max(0.0, whole - known)}


def _time(summary: CampaignSummary) -> Section:
    rows = [
        (
            _cell(row, "round", _count),
            *(_cell(seconds(row), step, "{:.1f}".format) for step in (*STEPS, "other")),
            _cell(row, "seconds_round", "{:.1f}".format),
            _cell(row, "tokens_per_second", "{:,.0f}".format),
        )
        for row in summary.rounds
    ]
    header = ("round", *STEPS, "other", "whole", "tokens/s")
    note = "seconds · start: of sampling and training processes · tokens/s of sampling"
    return Section("Where the time went", note, header, tuple(rows))


def _count(value: float) -> str:
    return f"{value:.0f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _cell(row: Row, name: str, write: Callable[[float], str]) -> str:
    value = number(row, name)
    return MISSING if value is None else write(value)


def _with_interval(row: Row, name: str, write: Callable[[float], str]) -> str:
    low, high = number(row, f"{name}_low"), number(row, f"{name}_high")
    cell = _cell(row, name, write)
    return cell if low is None or high is None else f"{cell} [{write(low)}, {write(high)}]"


def _with_error(row: Row, name: str) -> str:
    error = number(row, f"{name}_se")
    cell = _cell(row, name, "{:.2f}".format)
    return cell if error is None else f"{cell} ±{error:.2f}"


# ---- the terminal --------------------------------------------------------------------------------


def render_table(summary: CampaignSummary) -> "RenderableType":
    """The state, the headline and the tables, for `rich.print`."""
    from rich.console import Group
    from rich.text import Text

    state = f"{visible(summary.name)}: {summary.state}, {progress(summary)}"
    top = [Text(state, style="dim"), Text(headline(summary), style="bold")]
    top += [
        Text(f"! round {row['round']}: {caution}", style="yellow")
        for row in summary.rounds
        for caution in cautions(summary, row)
    ]
    return Group(*top, *(_Fitted(section) for section in sections(summary)))


@dataclass(frozen=True)
class _Fitted:
    """A section that is continued below itself where the terminal is too narrow for it.

    Rich would cut the numbers with an ellipsis instead.
    """

    section: Section

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> Iterator["RenderableType"]:
        from rich.text import Text

        yield Text("")
        yield Text(self.section.title, style="bold cyan")
        yield Text(self.section.note, style="dim")
        for part in split(self.section, options.max_width):
            yield _table(part, options.max_width)


def split(section: Section, width: int) -> Iterator[Section]:
    """Tables no wider than `width` characters that together hold all columns of `section`."""
    widths = _widths(section, width)
    chosen, used = [0], widths[0]
    for index in range(1, len(widths)):
        if len(chosen) > 1 and used + _GAP + widths[index] > width:
            yield _columns(section, chosen)
            chosen, used = [0], widths[0]
        chosen.append(index)
        used += _GAP + widths[index]
    yield _columns(section, chosen)


def _widths(section: Section, width: int) -> list[int]:
    """Of each column; headings are broken at their spaces only if the table is too wide else."""
    cells = [max(len(row[index]) for row in section.rows) for index in range(len(section.header))]
    cells[0] = min(cells[0], _NAME)
    whole = [max(cell, len(name)) for cell, name in zip(cells, section.header, strict=True)]
    if sum(whole) + _GAP * (len(whole) - 1) <= width:
        return whole
    words = [max(len(word) for word in name.split()) for name in section.header]
    return [max(cell, word) for cell, word in zip(cells, words, strict=True)]


def _columns(section: Section, chosen: Iterable[int]) -> Section:
    order = tuple(chosen)
    rows = tuple(tuple(row[index] for index in order) for row in section.rows)
    return replace(section, header=tuple(section.header[index] for index in order), rows=rows)


def _table(section: Section, width: int) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    widths = _widths(section, width)
    for index, name in enumerate(section.header):
        # Without a fixed width Rich narrows the widest columns first and cuts their numbers.
        table.add_column(
            Text(name),
            justify="right" if index else "left",
            vertical="bottom",
            overflow="fold",
            width=widths[index],
        )
    for row in section.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


# ---- JSON ----------------------------------------------------------------------------------------


def as_json(summary: CampaignSummary) -> dict[str, Any]:
    """What `ratchet status --json` prints; a number that does not exist is null, never NaN."""
    names = [column.name for column in COLUMNS]
    return {
        "version": 1,
        "name": summary.name,
        "directory": summary.directory,
        "state": summary.state,
        "rounds_planned": summary.rounds_planned,
        "doing": summary.doing,
        "headline": headline(summary),
        "base": _plain(summary.base),
        "rounds": [_plain({**dict.fromkeys(names), **row}) for row in summary.rounds],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if hasattr(value, "item"):  # a scalar of numpy, as pandas hands them out
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
