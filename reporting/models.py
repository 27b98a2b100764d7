"""The metrics of two models on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.table import Table

from dpo_core.text import visible
from reporting.cells import format_estimate

_SIDES = (
    ("length_tokens", "tokens per answer", "{:.1f}"),
    ("truncated_share", "truncated", "{:.1%}"),
    ("repetition_share", "repetition", "{:.1%}"),
    ("distinct_1", "distinct words", "{:.1%}"),
    ("distinct_2", "distinct word pairs", "{:.1%}"),
    ("self_similarity", "self-similarity", "{:.2f}"),
    ("refusal_share", "refusals", "{:.1%}"),
)


def format_numbers(numbers: Mapping[str, Any]) -> Iterator[str | Table]:
    """The lines and tables to print, from top to bottom."""
    yield from _sentences(numbers)
    yield _side_table(numbers)
    if numbers["slices"]:
        yield _slice_table(numbers)


def _sentences(numbers: Mapping[str, Any]) -> Iterator[str]:
    """The verdict first, then its caveats."""
    a, b = (visible(numbers["models"][name]["model"]) for name in "ab")
    rate, controlled = numbers["win_rate"], numbers["length_controlled_win_rate"]
    yield f"A {a}"
    yield f"B {b}"
    if rate is None:
        yield "The judge decided no comparison."
    else:
        yield (
            f"A {_against(rate)} B: win rate {_share(rate)} "
            f"on {numbers['prompts']:,} prompts, {numbers['comparisons']:,} comparisons"
        )
        text = _share(controlled) if controlled else "unknown, because all lengths differ alike"
        if controlled and controlled["extrapolated"]:
            text += ", extrapolated: nearly all answers of one model are longer"
        yield f"length-controlled ({numbers['length_unit']}): {text}"
    yield from _distances(numbers["kl"])
    for name, count in numbers["unjudged"].items():
        if count:
            yield f"{name.upper()} lost {count:,} comparisons: its answers could not be judged"
    if numbers["unreadable"]:
        yield f"left out: {numbers['unreadable']:,} comparisons that the judge did not decide"
    if numbers["too_long"]:
        yield f"left out: {numbers['too_long']:,} answers to prompts too long for a model"


def _side_table(numbers: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("answers")
    for side in "AB":
        table.add_column(side, justify="right")
    models = [numbers["models"][name] for name in "ab"]
    for name, title, form in _SIDES:
        values = [model[name] for model in models]
        if values != [None, None]:
            table.add_row(title, *(_value(value, form) for value in values))
    for source in models[0]["scores"]:
        table.add_row(
            f"score of {visible(source)}", *(_value(m["scores"][source], "{:.3g}") for m in models)
        )
    return table


def _slice_table(numbers: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("slice", "prompts", "win rate of A", "adjusted p"):
        table.add_column(title, justify="left" if title == "slice" else "right")
    for name, found in numbers["slices"].items():
        rate = {"estimate": found["win_rate"], "low": found["low"], "high": found["high"]}
        flag = "  lost" if found["flagged"] else ""
        table.add_row(
            visible(name), f"{found['prompts']:,}", _share(rate), f"{found['p_adjusted']:.3g}{flag}"
        )
    return table


def _distances(kl: Mapping[str, Any]) -> Iterator[str]:
    if "unknown" in kl:
        yield f"KL(A‖B) unknown: {kl['unknown']}"
        return
    for name, unit in (("nats", "nats per completion"), ("nats_per_token", "nats per token")):
        error = kl[name]["se"]
        spread = "" if error is None else f" ± {error:.2g}"
        yield f"KL(A‖B) {kl[name]['estimate']:.4g}{spread} {unit} (standard error)"


def _against(rate: Mapping[str, float]) -> str:
    if rate["low"] > 0.5:
        return "beats"
    return "loses to" if rate["high"] < 0.5 else "is not clearly better or worse than"


def _share(rate: Mapping[str, float]) -> str:
    return _value(rate, "{:.3f}")


def _value(value: Any, form: str) -> str:
    """A number, with its interval if it has one."""
    if isinstance(value, Mapping):
        return format_estimate(value["estimate"], value["low"], value["high"], form.format)
    return format_estimate(value, None, None, form.format)
