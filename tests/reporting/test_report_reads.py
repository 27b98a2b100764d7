"""What the report reads back from a campaign on disk, and what it makes of the numbers."""

import os
from dataclasses import replace

import pytest
import yaml
from demo_summary import demo, measured
from small_campaign import Campaign

from dpo_core.campaign.facts import valid_entries
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.tables import read_rows
from flows.config import validate
from flows.config.versions import read_configs
from flows.run import adopt_config
from reporting.at_a_glance import at_a_glance
from reporting.label_gains import label_gains
from reporting.lineage import lineage
from reporting.plots import plots
from reporting.read.curves import Mean
from reporting.read.details import data_flow
from reporting.report import render_report
from reporting.sample_browser import score_gain, static_prompts
from reporting.sentences import gate_checks, gate_reasons, verdict
from reporting.summary import CampaignSummary, read_summary


def _with(*rounds: RoundMetrics) -> CampaignSummary:
    return replace(demo(), rounds=rounds)


def test_samples_have_every_rounds_answer_with_verdict_and_reason(finished: Campaign) -> None:
    summary = read_summary(finished.layout.root)
    held_out = [row for row in summary.samples if row.kind == "held-out"]
    assert len(held_out) == 24  # all test prompts
    assert {tuple(answer.round for answer in row.answers) for row in held_out} == {(0, 1, 2)}
    row = held_out[0]
    rows = read_rows(finished.artifact(2, "evaluation").path("outcomes.parquet"))
    wanted = next(
        one for one in rows if one["prompt_id"] == row.prompt_id and one["opponent"] == "base"
    )
    words = {1.0: "won against base", 0.5: "tied with base", 0.0: "lost against base"}
    [said] = [said for said in row.answers[2].verdicts if said.verdict.endswith("base")]
    assert (said.verdict, said.reason) == (words[wanted["outcome"]], wanted["reason"])


def test_what_is_too_much_for_a_page_is_counted(
    finished: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reporting.read.samples.PROMPTS_SHOWN", 10)
    summary = read_summary(finished.layout.root)
    assert sum(row.kind == "held-out" for row in summary.samples) == 10
    assert summary.samples_left_out == 14  # of 24
    assert "14 more held-out prompts are only in the campaign" in render_report(summary)


def test_training_pairs_have_both_answers_and_the_judges_verdict(finished: Campaign) -> None:
    pairs = [row for row in read_summary(finished.layout.root).samples if row.kind == "training"]
    counts = [finished.artifact(number, "pairs").entry.kept for number in (1, 2)]
    assert len(pairs) == sum(counts)
    for row in pairs:
        first, second = row.answers
        verdicts = {answer.verdicts[0].verdict for answer in row.answers}
        assert verdicts in ({"preferred", "not preferred"}, {"tie"})
        assert first.score is not None and second.score is not None  # shorter answers are better
        assert (first.verdicts[0].verdict == "preferred") == (first.score > second.score)


def test_flow_and_lineage_are_the_ledgers(finished: Campaign) -> None:
    summary = read_summary(finished.layout.root)
    entry = finished.artifact(2, "pairs").entry
    [pairs] = [one for one in summary.details.flow if (one.round, one.stage) == (2, "pairs")]
    assert (pairs.came_in, pairs.kept, pairs.dropped) == (
        entry.came_in,
        entry.kept,
        dict(entry.dropped),
    )
    last = lineage(summary)[0]
    training = finished.artifact(2, "training").entry
    for known in (training.inputs["policy"], training.inputs["reference"]):
        assert known[:12] in last.sentence
    assert f"{training.kept} preferences" in last.sentence
    assert f"torch {training.versions['torch']}, " in last.sentence
    assert training.ratchet and f"ratchet {training.ratchet}, on " in last.sentence
    assert all(step.versions.endswith(f"ratchet {training.ratchet}") for step in last.steps)
    assert [step.step for step in last.steps][:2] == ["prompts", "completions"]


def test_curves_begin_without_a_margin(finished: Campaign) -> None:
    curves = read_summary(finished.layout.root).details.curves
    for number, curve in enumerate(curves, 1):
        rows = list(read_rows(finished.artifact(number, "training").path("training.parquet")))
        values = [row["margin"] for row in rows]
        means = [mean for _, mean in curve.column("margin")]
        assert [mean.value for mean in means] == values  # few steps: no means
        assert [(mean.pairs, mean.spread) for mean in means] == [
            (row["pairs"], row["margin_spread"]) for row in rows
        ]
        assert values[0] == pytest.approx(0, abs=1e-4)


def test_status_reads_none_of_it(finished: Campaign) -> None:
    summary = read_summary(finished.layout.root, samples=False)
    assert summary.samples == () and summary.details.steps == ()


def test_each_round_knows_the_config_it_was_made_under(copy: Campaign) -> None:
    """The config changes after both rounds; the time of the files does not matter."""
    config = yaml.safe_load(copy.layout.config.read_text())
    config["training"]["beta"] = 0.25
    adopt_config(copy.layout, validate(config, "test"))
    for path in copy.layout.root.glob("campaign*.yaml"):
        os.utime(path, (0, 0))
    forces = read_summary(copy.layout.root).details.configs
    assert [(one.round, one.file, one.differences) for one in forces] == [
        (1, "campaign-v1.yaml", ()),
        (2, "campaign-v1.yaml", ()),
    ]
    steps = [e for e in valid_entries(copy.layout, 2) if e.step == "training"]
    steps[1] = replace(steps[1], at="2999-01-01T00:00:00+00:00")  # as if it had run again since
    last = read_configs(copy.layout, steps)[-1]
    assert last.file == "campaign.yaml"
    assert last.differences == (("training.beta", "0.5", "0.25"),)


def test_what_labels_bought() -> None:
    """60 % against the previous policy with 200 labels: 10 points / 2 = 5 points per hundred."""
    labels = {"rule:x": 150, "human:ann": 50}
    score = {"score_mean": 0.221, "score_mean_base": 0.021}
    row = measured(1, 0.6, 0.6, 0.6, 0.2, labels_by_source=labels, **score)
    summary = replace(_with(row), base={"score_mean": 0.021})
    [one] = label_gains(summary)
    assert one.labels == 200 and one.win_rate is not None and one.score is not None
    assert one.win_rate.estimate == pytest.approx(0.05)
    assert one.win_rate.low == pytest.approx((0.6 - 0.041 - 0.5) / 2)
    assert one.score.estimate == pytest.approx(0.1)
    [plot] = [plot for plot in plots(summary) if plot.title == "Gain per 100 labels: wins"]
    assert plot.series[0].points[0].y == pytest.approx(5)
    assert label_gains(_with(measured(1, 0.6, 0.6, 0.6, 0.2))) == ()  # no labels, nothing bought


def test_verdict_is_one_sentence_and_the_gate_says_why() -> None:
    gate = {
        "action": "rollback",
        "reasons": ["KL 9 is over the budget of 8"],
        "checks": [{"name": "kl_budget", "value": 9.0, "bound": 8.0, "passed": False}],
        "attempt": 2,
        "goes_on_from": 1,
        "tried": [{"attempt": 1, "changes": [], "decision": "refused"}],
        "changes": ["training.beta=0.2"],
        "answer": {"promote": False, "by": "ann\x1b", "reason": "too long", "at": ""},
    }
    row = measured(2, 0.7, 0.48, 0.49, 0.4, gate=gate)
    said = verdict(row)
    assert said.startswith(
        "Not promoted, rolled back: win rate 49.0% [95% CI 44.8, 53.2] vs. the previous"
    )
    assert said.replace("vs. ", "").count(". ") == 0 and said.endswith(".")
    assert gate_checks(row) == (("kl_budget", "9", "8", "failed"),)
    assert gate_reasons(row) == (
        "KL 9 is over the budget of 8",
        "attempt 1 (config unchanged): refused",
        "attempt 2 used training.beta=0.2",
        "ann⟨U+001B⟩ chose not to promote it: too long",
        "the next round starts from round 1",
    )


def test_first_screen_says_better_price_and_trust() -> None:
    row = measured(
        *(1, 0.7, 0.7, 0.7, 0.4),
        lc_win_rate_base=0.6,
        cpu_seconds=5400.0,
        labels_by_source={"human:ann": 20, "rule:x": 80},
        suites={"sums": {"failed": True}},
        cycles=[[3, 2, 1]],
        agreement={"kappa": {"rule:x": {"value": 0.3, "n": 20}}},
    )
    told = dict(at_a_glance(_with(row)))
    assert told["Better?"].startswith(
        "Win rate vs. base: 70.0% [95% CI 66.0, 74.0]; length-controlled 60.0%."
    )
    assert "1 h 30 min of CPU time" in told["At what price?"]
    assert "100 labels (20 human)" in told["At what price?"]
    assert (  # 70 % - 50 %
        "Round 1: +20.0 [95% CI +15.9, +24.1] points of win rate per 100 labels."
        in told["At what price?"]
    )
    assert told["Can I trust it?"] == (
        "With care. Length control changes the win rate by −10.0 points. Regression suites that "
        "fell: sums. Rounds beat each other in a cycle: r3 > r2 > r1 > r3. rule:x agrees weakly "
        "with human labels: κ 0.30. Lowest agreement of a judge with human labels: κ 0.30."
    )
    assert "No metric of round 3 gives cause" in dict(at_a_glance(demo()))["Can I trust it?"]
    assert at_a_glance(_with()) == ()


def test_prompts_that_stay_in_the_pool_are_not_lost() -> None:
    steps = [
        Entry(1, "prompts", "f", came_in=10, kept=4, dropped={"not_drawn": 6}),
        Entry(1, "pairs", "f", came_in=4, kept=3, dropped={"truncated": 1}),
        Entry(1, "gate", "f"),
    ]
    summary = _with(measured(1, 0.6, 0.6, 0.6, 0.2))
    summary = replace(summary, details=replace(summary.details, flow=data_flow(steps)))
    assert [(one.stage, one.stay) for one in summary.details.flow] == [
        ("prompts", True),
        ("pairs", False),
    ]
    [plot] = [plot for plot in plots(summary) if plot.title.startswith("From prompts")]
    assert [(series.name, len(series.points)) for series in plot.series] == [
        ("kept", 2),
        ("truncated", 1),
    ]


def test_without_a_script_the_biggest_changes_can_be_read() -> None:
    shown = static_prompts(demo())
    biggest = sorted((abs(score_gain(row) or 0) for row in demo().samples), reverse=True)
    assert len(shown) == 8 and biggest[7] == pytest.approx(1.2)  # 0.4 for each of three rounds
    assert [answer.policy for answer in shown[0].answers] == [
        "base",
        "round 1",
        "round 2",
        "round 3",
    ]


def test_intervals_within_a_round_are_those_of_its_pairs() -> None:
    """8 of 10: Wilson's score interval by its textbook form; the mean by sd / √n."""
    low, high = Mean(0.8, 10).share_ends(1.96) or (0, 0)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert (Mean(1.0, 10).share_ends(1.96) or (0,))[0] < 0.8  # all right: still some width
    assert Mean(3.0, 25, 0.5).mean_ends(2.0) == pytest.approx((2.8, 3.2))  # ± 2 · 0.5 / 5
    assert Mean(0.8).share_ends(1.96) is None and Mean(3.0, 25).mean_ends(2.0) is None


def test_previous_policy_and_reference_are_one_line_where_they_are_the_same() -> None:
    def names(reference: float) -> list[str]:
        row = measured(1, 0.6, 0.6, 0.6, 0.2, kl_reference_nats=reference)
        plot = next(one for one in plots(_with(row)) if one.title == "Distance travelled")
        return [series.name for series in plot.series]

    same = float(measured(1, 0.6, 0.6, 0.6, 0.2).kl_previous_nats or 0)
    assert names(same) == ["from base", "from previous = reference"]
    assert names(same + 0.1) == ["from base", "from previous", "from reference"]


def test_labels_that_an_older_version_did_not_count_are_not_said_to_be_none() -> None:
    numbers = (1, 0.6, 0.6, 0.6, 0.2)
    assert "labels" not in at_a_glance(_with(measured(*numbers)))[1][1]
    counted = measured(*numbers, labels_by_source={"rule:x": 40, "human:ann": 2})
    assert "42 labels (2 human)" in at_a_glance(_with(counted))[1][1]
