"""The metrics of two models on a terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich import box
from rich.table import Table

from dpo_core.evaluation.intervals import Interval, as_json, fields_as_json, finite
from dpo_core.evaluation.slices import Slice
from dpo_core.text import visible
from labeling.judges.behaviour import Behaviour
from reporting.number_formats import format_estimate, format_number

_SIDES = (
    ("length_tokens", "tokens per answer"),
    ("truncated_share", "truncated"),
    ("repetition_share", "repetition"),
    ("distinct_1", "distinct words"),
    ("distinct_2", "distinct word pairs"),
    ("self_similarity", "self-similarity"),
    ("refusal_share", "refusals"),
)


@dataclass(frozen=True)
class ControlledRate(Interval):
    """extrapolated: nearly all answers of one model are longer."""

    extrapolated: bool


@dataclass(frozen=True)
class Divergence(Interval):
    """se: standard error, NaN where it is unknown."""

    se: float


@dataclass(frozen=True)
class ModelNumbers:
    """One model's answers. metrics: those that are means have an interval. scores: by source."""

    model: str
    weights: str
    completions: int
    metrics: Mapping[str, Interval | float | None]
    scores: Mapping[str, Interval | None]

    def as_json(self) -> dict[str, object]:
        fields = fields_as_json(self)
        del fields["metrics"]
        return {**fields, **{name: as_json(value) for name, value in self.metrics.items()}}


@dataclass(frozen=True)
class TwoModelsNumbers:
    """What `ratchet evaluate --json` prints, described in docs/evaluation.md."""

    format: int
    confidence: float
    prompts: int
    comparisons: int
    unreadable: int
    unjudged: Mapping[str, int]
    too_long: int
    win_rate: Interval | None
    length_controlled_win_rate: ControlledRate | None
    length_unit: str
    kl: Mapping[str, Divergence | str]
    models: Mapping[str, ModelNumbers]
    slices: Mapping[str, Slice]
    judges: Mapping[str, Behaviour]

    def as_json(self) -> dict[str, object]:
        models = {name: model.as_json() for name, model in self.models.items()}
        return {**fields_as_json(self), "models": models}


def format_numbers(numbers: TwoModelsNumbers) -> Iterator[str | Table]:
    """The lines and tables to print, from top to bottom."""
    yield from _sentences(numbers)
    yield _side_table(numbers)
    if numbers.slices:
        yield _slice_table(numbers.slices)


def _sentences(numbers: TwoModelsNumbers) -> Iterator[str]:
    """The verdict first, then its caveats."""
    a, b = (visible(numbers.models[name].model) for name in "ab")
    rate, controlled = numbers.win_rate, numbers.length_controlled_win_rate
    yield f"A {a}"
    yield f"B {b}"
    if rate is None:
        yield "The judge decided no comparison."
    else:
        yield (
            f"A {_against(rate)} B: win rate {_share(rate)} "
            f"on {numbers.prompts:,} prompts, {numbers.comparisons:,} comparisons"
        )
        text = _share(controlled) if controlled else "unknown, because all lengths differ alike"
        if controlled and controlled.extrapolated:
            text += ", extrapolated: nearly all answers of one model are longer"
        yield f"length-controlled ({numbers.length_unit}): {text}"
    yield from _distances(numbers.kl)
    for name, count in numbers.unjudged.items():
        if count:
            yield f"{name.upper()} lost {count:,} comparisons: its answers could not be judged"
    if numbers.unreadable:
        yield f"left out: {numbers.unreadable:,} comparisons that the judge did not decide"
    if numbers.too_long:
        yield f"left out: {numbers.too_long:,} answers to prompts too long for a model"


def _side_table(numbers: TwoModelsNumbers) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("answers")
    for side in "AB":
        table.add_column(side, justify="right")
    models = [numbers.models[name] for name in "ab"]
    for name, title in _SIDES:
        values = [model.metrics[name] for model in models]
        if values != [None, None]:
            table.add_row(title, *(_value(name, value) for value in values))
    for source in models[0].scores:
        table.add_row(
            f"score of {visible(source)}", *(_value("score", m.scores[source]) for m in models)
        )
    return table


def _slice_table(slices: Mapping[str, Slice]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("slice", "prompts", "win rate of A", "adjusted p"):
        table.add_column(title, justify="left" if title == "slice" else "right")
    for name, slice_ in slices.items():
        rate = Interval(slice_.win_rate, slice_.low, slice_.high)
        flag = "  lost" if slice_.flagged else ""
        table.add_row(
            visible(name), f"{slice_.prompts:,}", _share(rate), f"{slice_.p_adjusted:.3g}{flag}"
        )
    return table


def _distances(kl: Mapping[str, Divergence | str]) -> Iterator[str]:
    units = {"nats": "nats per completion", "nats_per_token": "nats per token"}
    for name, distance in kl.items():
        if isinstance(distance, str):
            yield f"KL(A‖B) unknown: {distance}"
        else:
            spread = "" if finite(distance.se) is None else f" ± {distance.se:.2g}"
            yield f"KL(A‖B) {distance.estimate:.4g}{spread} {units[name]} (standard error)"


def _against(rate: Interval) -> str:
    if rate.low > 0.5:
        return "beats"
    return "loses to" if rate.high < 0.5 else "is not clearly better or worse than"


def _share(rate: Interval) -> str:
    return _value("win_rate", rate)


def _value(name: str, value: Interval | float | None) -> str:
    """A number, with its interval if it has one."""
    if isinstance(value, Interval):
        return format_estimate(name, value.estimate, finite(value.low), finite(value.high))
    return format_number(name, value)
