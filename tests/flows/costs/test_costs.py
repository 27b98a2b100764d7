"""What rounds cost: expected sums by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_campaign import Campaign

from dpo_core import json_lines
from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.branching import Origin, own_entries, write_origin
from dpo_core.campaign.costs import campaign_cost, round_cost
from dpo_core.campaign.facts import read_round_metrics
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.prices import PricesConfig
from dpo_core.step_facts import StepFacts
from flows.compute.metering import CostMeter, GpuHold, gpu_seconds


class Own(StepFacts):
    own: int = 0


def entry(step: str, seconds: float = 10.0, number: int = 1, **facts: Any) -> Entry:
    measured = {"cpu_seconds": 36.0, "gpu_seconds": 0.0, **facts}
    return Entry(number, step, step, facts=measured, seconds=seconds)


SAMPLED = entry("completions", prompt_tokens=1_000, tokens=4_000, seconds_engine=1.0)
PAID = {"paid": {"tokens_in": 300, "tokens_out": 3, "money": 0.25}}
FREE = {"here": {"tokens_in": 500, "tokens_out": 5, "money": 0.0}}
JUDGED = entry(
    "judgements", judges={"paid": {"pairs": 7}, "rule": {"pairs": 9}}, judges_spent=PAID | FREE
)
LABELLED = entry("labels", by_annotator={"ann": 4, "bob": 6})
TRAINED = entry("training", gpu_seconds=7_200.0)
ROUND = (SAMPLED, JUDGED, LABELLED, TRAINED, entry("completions", number=2))


def test_amounts_of_a_round() -> None:
    row = round_cost(ROUND, 1, PricesConfig())
    assert row.cpu_seconds == 4 * 36 and row.gpu_seconds == 7_200
    assert (row.tokens_in, row.tokens_out) == (1_000 + 300 + 500, 4_000 + 3 + 5)
    assert row.labels_by_source == {"human:ann": 4, "human:bob": 6, "paid": 7, "rule": 9}


def test_without_prices_money_is_unknown_but_for_what_endpoints_counted() -> None:
    row = round_cost(ROUND, 1, PricesConfig())
    assert row.money_by == {
        "gpu": None,
        "cpu": None,
        "tokens": None,
        "labels": None,
        "judges": 0.25,
    }
    assert row.money == 0.25
    assert round_cost([TRAINED], 1, PricesConfig()).money is None


def test_money_by_the_price_table() -> None:
    """Tokens that an endpoint counted are not counted again; judges' verdicts are no labels."""
    prices = PricesConfig(
        currency="USD",
        gpu_hour=3,
        cpu_hour=0.5,
        label=0.1,
        million_tokens_in=2,
        million_tokens_out=10,
    )
    row = round_cost(ROUND, 1, prices)
    expected = {
        "gpu": 2 * 3,  # 7,200 s
        "cpu": 4 * 36 / 3600 * 0.5,
        "tokens": (1_000 + 500) * 2e-6 + (4_000 + 5) * 10e-6,
        "labels": 10 * 0.1,
        "judges": 0.25,
    }
    assert row.money_by == pytest.approx(expected) and row.currency == "USD"
    assert row.money == pytest.approx(sum(expected.values()))
    by_step = row.cost_by_step
    assert by_step["training"].money == pytest.approx(6 + 0.005)
    assert by_step["labels"].money == pytest.approx(1 + 0.005)
    assert row.money == pytest.approx(sum(step.money or 0 for step in by_step.values()))


def test_labels_priced_by_source() -> None:
    def labels(price: dict[str, float]) -> float | None:
        found = round_cost(ROUND, 1, PricesConfig(label=price)).money_by
        return found["labels"]

    assert labels({"human": 0.1, "human:ann": 0.3}) == pytest.approx(4 * 0.3 + 6 * 0.1)
    assert labels({"human:ann": 0.3}) is None  # what bob gets is not known
    assert labels({"human": 0.1, "paid": 1.0}) == pytest.approx(10 * 0.1 + 7 * 1.0)


def test_a_step_counts_each_time_it_was_made_but_a_label_once() -> None:
    again = entry("labels", by_annotator={"ann": 5})
    row = round_cost((*ROUND, again, TRAINED), 1, PricesConfig())
    assert row.gpu_seconds == 2 * 7_200
    assert row.cost_by_step["training"].seconds == 20
    assert row.labels_by_source["human:ann"] == 5


def test_a_campaign_is_its_rounds_together() -> None:
    second = entry("labels", number=2, by_annotator={"ann": 7})
    whole = campaign_cost((*ROUND, second), PricesConfig())
    assert whole.labels_by_source["human:ann"] == 4 + 7
    assert whole.cpu_seconds == 6 * 36


def test_what_older_versions_did_not_measure_is_unknown() -> None:
    old = Entry(1, "completions", "f", facts={"tokens": 5, "seconds_engine": 1.0}, seconds=3.0)
    pruned = Entry(1, "prune", "p", facts={"subfolder": "policy"})
    row = round_cost((old, pruned, TRAINED), 1, PricesConfig(gpu_hour=1))
    assert row.cpu_seconds is None and row.gpu_seconds is None
    assert (row.tokens_in, row.tokens_out) == (None, 5)
    assert row.money_by["gpu"] is None and row.money is None
    assert "prune" not in row.cost_by_step


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ((), 0),
        (((1, 0, 30),), 10),  # from before until after the step, of 10 s
        (((2, 14, 30),), 2 * 6),
        (((2, 0, 14), (1, 12, 18)), 2 * 4 + 1 * 4),  # the second shares a GPU with the first
        (((0, 0, 30), (1, 20, 30)), 0),
    ],
)
def test_gpu_seconds(held: tuple[tuple[int, float, float], ...], expected: float) -> None:
    assert gpu_seconds([GpuHold(*one) for one in held], 10, 20) == expected


def test_what_a_killed_run_paid_counts_once(tmp_path: Path) -> None:
    spending = tmp_path / "spending.jsonl"

    def pay(money: float, end: str = "\n") -> None:
        line = f'{{"source": "j", "tokens_in": 1, "tokens_out": 2, "money": {money}}}'
        with spending.open("a") as file:
            file.write(line + end)

    def step(meter: CostMeter, paid: float = 0.0) -> dict[str, Any]:
        def make(folder: Path) -> StepResult:
            if paid:
                pay(paid)
            return StepResult(facts=Own(own=1))

        return dict(meter.measure(make)(tmp_path).recorded_facts)

    pay(0.5)  # a run that was killed before its first step was finished
    first = step(CostMeter(spending, []), 0.25)
    assert first["own"] == 1 and first["gpu_seconds"] == 0 and first["cpu_seconds"] >= 0
    assert first["judges_spent"] == {"j": {"tokens_in": 2, "tokens_out": 4, "money": 0.75}}
    after = [Entry(1, "s", "f", facts=first, seconds=1.0)]
    assert "judges_spent" not in step(CostMeter(spending, after))
    pay(1.0, end='\n{"source": "j", "tok')  # torn
    assert step(CostMeter(spending, after))["judges_spent"]["j"]["money"] == 1.0
    older = [Entry(1, "s", "f", seconds=1.0)]  # of a version that did not measure
    assert "judges_spent" not in step(CostMeter(spending, older))


@pytest.mark.parametrize("counted", [True, False])
def test_what_a_killed_run_of_a_branch_paid_counts(tmp_path: Path, counted: bool) -> None:
    """The entries that came along count bytes of another campaign's file."""
    layout = Layout(tmp_path)
    facts = {"spending_to": 10_000, "cpu_seconds": 1.0}
    entries = [Entry(1, "judgements", "f", facts=facts, at="2026-01-01T00:00:00+00:00")]
    lines = len(entries) if counted else None  # branches of earlier versions did not say
    at = "2026-01-02T00:00:00+00:00"
    write_origin(layout, Origin("parent", "parent", 1, (), "ada", at, (), entries=lines))

    def pay(money: float) -> None:
        json_lines.append(
            layout.judge_spending,
            [{"source": "j", "tokens_in": 1, "tokens_out": 2, "money": money}],
        )

    def step() -> dict[str, Any]:
        meter = CostMeter(layout.judge_spending, own_entries(layout, entries))
        return dict(meter.measure(lambda folder: StepResult())(tmp_path).recorded_facts)

    pay(0.5)  # and the run was killed
    first = step()
    assert first["judges_spent"]["j"]["money"] == 0.5
    entries.append(Entry(2, "judgements", "g", facts=first, at="2026-01-03T00:00:00+00:00"))
    pay(0.25)
    assert step()["judges_spent"]["j"]["money"] == 0.25


def test_time_of_children_by_step(tmp_path: Path) -> None:
    """A child of two GPUs took 5 s before the step, and 3 s in it, in which it was closed."""
    child = SimpleNamespace(gpus=2, first_gpu=0, started=0.0, ended=None, spent=5.0)
    child.cpu_seconds = lambda: child.spent
    meter = CostMeter(tmp_path / "none", [])
    meter.watch(child)  # type: ignore[arg-type]

    def make(folder: Path) -> StepResult:
        child.spent, child.ended = 8.0, 0.0
        return StepResult()

    found = meter.measure(make)(tmp_path).recorded_facts
    assert found["cpu_seconds"] == pytest.approx(3, abs=0.2) and found["gpu_seconds"] == 0
    assert meter.measure(lambda _: StepResult())(tmp_path).recorded_facts["cpu_seconds"] < 1


def test_a_campaigns_ledger_and_rows_tell_its_cost(finished: Campaign) -> None:
    entries = [e for e in finished.entries() if e.round == 1]
    assert all(e.facts["cpu_seconds"] >= 0 and e.facts["gpu_seconds"] >= 0 for e in entries)
    row = read_round_metrics(finished.layout, 1)
    assert row is not None
    # The process that trains was started for the base: it need not import torch again.
    assert (row.cost_by_step or {})["training"].cpu_seconds > 0.05
    base = finished.artifact(0, "base").entry.facts["cpu_seconds"]
    assert base > 1, "it starts a process that imports torch, and trains"
    parts = sum(step.cpu_seconds or 0 for step in (row.cost_by_step or {}).values())
    assert row.cpu_seconds == pytest.approx(parts)
    made = [finished.artifact(1, step).entry.facts for step in ("completions", "answers")]
    assert row.tokens_out == sum(facts["tokens"] for facts in made)
    assert row.tokens_in == sum(facts["prompt_tokens"] for facts in made) > 0
    judged = finished.artifact(1, "judgements").entry.came_in
    assert row.labels_by_source == {"rule:small_judge:score": judged}
    assert row.money is None and row.currency == "EUR"
