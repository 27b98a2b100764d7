"""The metrics of two models on a terminal."""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel
from rich import box
from rich.table import Table

from dpo_core.campaign.round_parts import SliceNumbers
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


class ShownRate(BaseModel):
    """A number with its interval."""

    estimate: float
    low: float | None
    high: float | None
    extrapolated: bool = False
    se: float | None = None


class ModelAnswers(BaseModel):
    """The answers of one model."""

    model: str
    length_tokens: ShownRate | None
    truncated_share: ShownRate | None
    repetition_share: ShownRate | None
    distinct_1: float | None
    distinct_2: float | None
    self_similarity: float | None
    refusal_share: ShownRate | None
    scores: dict[str, ShownRate | None]


class ModelDistance(BaseModel):
    """KL(A‖B); unknown: why it was not measured."""

    unknown: str | None = None
    nats: ShownRate | None = None
    nats_per_token: ShownRate | None = None


class ComparedModels(BaseModel):
    """What is shown of the numbers of `ratchet evaluate --json`."""

    prompts: int
    comparisons: int
    unreadable: int
    unjudged: dict[str, int]
    too_long: int
    win_rate: ShownRate | None
    length_controlled_win_rate: ShownRate | None
    length_unit: str
    kl: ModelDistance
    models: dict[str, ModelAnswers]
    slices: dict[str, SliceNumbers]


def format_numbers(numbers: Mapping[str, object]) -> Iterator[str | Table]:
    """The lines and tables to print, from top to bottom."""
    compared = ComparedModels.model_validate(numbers)
    yield from _sentences(compared)
    yield _side_table(compared)
    if compared.slices:
        yield _slice_table(compared)


def _sentences(compared: ComparedModels) -> Iterator[str]:
    """The verdict first, then its caveats."""
    a, b = (visible(compared.models[name].model) for name in "ab")
    rate, controlled = compared.win_rate, compared.length_controlled_win_rate
    yield f"A {a}"
    yield f"B {b}"
    if rate is None:
        yield "The judge decided no comparison."
    else:
        yield (
            f"A {_against(rate)} B: win rate {_value(rate, '{:.3f}')} "
            f"on {compared.prompts:,} prompts, {compared.comparisons:,} comparisons"
        )
        text = "unknown, because all lengths differ alike"
        if controlled is not None:
            text = _value(controlled, "{:.3f}")
            if controlled.extrapolated:
                text += ", extrapolated: nearly all answers of one model are longer"
        yield f"length-controlled ({compared.length_unit}): {text}"
    yield from _distances(compared.kl)
    for name, count in compared.unjudged.items():
        if count:
            yield f"{name.upper()} lost {count:,} comparisons: its answers could not be judged"
    if compared.unreadable:
        yield f"left out: {compared.unreadable:,} comparisons that the judge did not decide"
    if compared.too_long:
        yield f"left out: {compared.too_long:,} answers to prompts too long for a model"


def _side_table(compared: ComparedModels) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("answers")
    for side in "AB":
        table.add_column(side, justify="right")
    models = [compared.models[name] for name in "ab"]
    for name, title, form in _SIDES:
        values = [getattr(model, name) for model in models]
        if values != [None, None]:
            table.add_row(title, *(_value(value, form) for value in values))
    for source in models[0].scores:
        table.add_row(
            f"score of {visible(source)}", *(_value(m.scores[source], "{:.3g}") for m in models)
        )
    return table


def _slice_table(compared: ComparedModels) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("slice", "prompts", "win rate of A", "adjusted p"):
        table.add_column(title, justify="left" if title == "slice" else "right")
    for name, group in compared.slices.items():
        rate = format_estimate(group.win_rate, group.low, group.high, "{:.3f}".format)
        flag = "  lost" if group.flagged else ""
        table.add_row(visible(name), f"{group.prompts:,}", rate, f"{group.p_adjusted:.3g}{flag}")
    return table


def _distances(kl: ModelDistance) -> Iterator[str]:
    if kl.unknown is not None:
        yield f"KL(A‖B) unknown: {kl.unknown}"
    for found, unit in ((kl.nats, "nats per completion"), (kl.nats_per_token, "nats per token")):
        if found is not None:
            spread = "" if found.se is None else f" ± {found.se:.2g}"
            yield f"KL(A‖B) {found.estimate:.4g}{spread} {unit} (standard error)"


def _against(rate: ShownRate) -> str:
    if rate.low is not None and rate.low > 0.5:
        return "beats"
    lost = rate.high is not None and rate.high < 0.5
    return "loses to" if lost else "is not clearly better or worse than"


def _value(value: ShownRate | float | None, form: str) -> str:
    """A number, with its interval if it has one."""
    if isinstance(value, ShownRate):
        return format_estimate(value.estimate, value.low, value.high, form.format)
    return format_estimate(value, None, None, form.format)
