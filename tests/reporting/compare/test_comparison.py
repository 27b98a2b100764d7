"""What a comparison says of two campaigns whose numbers are known."""

import json
from dataclasses import replace

import pytest
from rich.console import Console
from two_campaigns import PROMPTS, branch, hostile, outcomes, parent

from reporting.compare.answers import answers_beside
from reporting.compare.plots import plot_groups
from reporting.compare.render import as_json, render_comparison, render_page
from reporting.compare.sentences import differences, headline, not_comparable, shared
from reporting.compare.sides import compare_sides
from reporting.compare.tables import settings_table, tables
from reporting.read.samples import SampledAnswer

TWO = compare_sides([parent(), branch()])


def table(title: str) -> tuple[tuple[str, ...], ...]:
    found = next(section for section in tables(TWO) if section.title == title)
    return (found.header, *found.rows)


def test_policies_are_compared_prompt_by_prompt() -> None:
    (found,) = TWO.differences
    # 80 wins and 70, on the same hundred prompts, the first 70 of them alike.
    assert found.wins.estimate == pytest.approx(0.1)
    assert 0 < found.wins.low < 0.1 < found.wins.high < 0.2
    assert headline(TWO).startswith("Clear winner: demo-cpu-from-1 has +10.0 [95% CI +")
    assert headline(TWO).endswith(
        "points of win rate vs. base against demo-cpu on the same 100 test prompts."
    )
    assert differences(TWO) == ()  # the headline says it


def test_headline_and_difference_agree_whichever_side_is_better() -> None:
    swapped = headline(compare_sides([branch(), parent()]))
    assert swapped.startswith("Clear winner: demo-cpu-from-1 has +10.0 [95% CI +")
    three = compare_sides([parent(), branch(), parent(label="third", outcomes=outcomes(60))])
    assert headline(three) == "Clear winner: demo-cpu-from-1, ahead of each of the others."
    assert all("demo-cpu-from-1 has +" in said for said in differences(three)[::2])
    close = compare_sides([parent(), branch(outcomes=outcomes(70)), parent(label="third")])
    assert headline(close).startswith("No clear winner: no campaign is ahead")


def test_a_small_difference_may_be_chance() -> None:
    close = compare_sides([parent(), branch(outcomes={**outcomes(69), (PROMPTS[80], 0): 1.0})])
    assert headline(close).startswith("No clear winner: demo-cpu-from-1 has +0.0 [95% CI −")
    alike = compare_sides([parent(), branch(outcomes=outcomes(70))])
    assert "the same wins and losses vs. base" in headline(alike)


def test_what_they_share_and_where_they_part() -> None:
    assert shared(TWO) == (
        "demo-cpu and demo-cpu-from-1 share round 1: the same policies.",
        "demo-cpu-from-1 is a branch of demo-cpu after round 1; changed: "
        "training.beta: 0.05 → 0.1.",
    )
    settings = settings_table(TWO)
    assert (settings.header, *settings.rows) == (
        ("key", "demo-cpu", "demo-cpu-from-1"),
        ("training.beta", "0.05", "0.1"),
    )
    page = render_page(TWO)
    assert page.index("Config differences</h2>") < page.index("Round by round</h2>")
    assert shared(compare_sides([parent(), branch(base="other", origin=None)])) == ()


def test_tables_hold_the_rounds_beside_each_other() -> None:
    wins = table("Win rate vs. base")
    assert [row[0] for row in wins[1:]] == ["1 (shared)", "2", "3"]
    assert wins[1][1] == wins[1][2] and wins[1][1].startswith("63.4% [")
    assert wins[3][1].startswith("78.1% [") and wins[3][2] == "–"
    stands = table("Current policies")
    place = stands[0].index("current")
    assert [row[place] for row in stands[1:]] == ["round 3", "round 2"]
    assert "LC wins vs base" not in stands[0]  # no campaign knows it
    took = table("Cost")
    assert [row[took[0].index("time")] for row in took[1:]] == ["52 s", "35 s"]


def test_a_campaign_that_stands_at_its_base() -> None:
    stuck = compare_sides([parent(incumbent=0, outcomes={}), branch()])
    rows = next(one.rows for one in tables(stuck) if one.title == "Current policies")
    assert rows[0][3] == "the base"
    # 80 wins of a hundred against the base, which ties with itself
    assert headline(stuck).startswith("Clear winner: demo-cpu-from-1 has +30.0 [95% CI +")
    begun = compare_sides(
        [parent(summary=replace(parent().summary, rounds=()), incumbent=0), branch()]
    )
    assert headline(begun).startswith("Only demo-cpu-from-1 has finished a round")


@pytest.mark.parametrize(
    ("other", "warning"),
    [
        (branch(test_prompts=frozenset(PROMPTS[:60])), "(100 and 60 test prompts, 60 in common)"),
        (branch(base="another"), "different base policies"),
        (branch(answer_settings={"evaluation_judge": "tone"}), "were judged by different judges"),
    ],
)
def test_warns_where_win_rates_say_nothing(other: object, warning: str) -> None:
    found = compare_sides([parent(), other])  # type: ignore[list-item]
    (said,) = not_comparable(found)
    assert warning in said
    assert headline(found) == "The win rates of these campaigns are not comparable."
    assert as_json(found)["comparable"] is False and said in render_page(found)
    assert not_comparable(TWO) == ()


def test_json_for_programs() -> None:
    found = json.loads(json.dumps(as_json(TWO), allow_nan=False))
    assert found["version"] == 1 and found["comparable"]
    assert [side["goes_on_with"] for side in found["campaigns"]] == [3, 2]
    assert found["campaigns"][1]["branch"]["of"] == "demo-cpu"
    assert found["campaigns"][0]["campaign"]["rounds"][2]["win_rate_base"] == 0.781
    assert found["config"]["training.beta"] == {"demo-cpu": "0.05", "demo-cpu-from-1": "0.1"}


def test_plots_have_a_series_for_each_campaign() -> None:
    (group,) = plot_groups(TWO)
    titles = {plot.title: plot for plot in group.plots}
    assert list(titles) == ["Win rate", "Wins against KL", "Distance travelled", "Length"]
    for plot in group.plots:
        assert [series.name for series in plot.series] == ["demo-cpu", "demo-cpu-from-1"]
    path = titles["Wins against KL"].series[1].points
    assert [(p.x, p.y, p.label) for p in path] == [
        (0.0, 0.5, "base"),
        (0.18, 0.634, "round 1"),
        (0.52, 0.8, "round 2"),
    ]


def test_answers_stand_side_by_side_those_judged_most_differently_first() -> None:
    def answers(*scores: float) -> dict[str, SampledAnswer]:
        return {
            prompt: SampledAnswer(2, f"says {score}", score, "", "stop")
            for prompt, score in zip(PROMPTS, scores, strict=False)
        }

    prompts = {prompt: f"text of {prompt}" for prompt in PROMPTS}
    two = compare_sides(
        [
            parent(prompts=prompts, answers=answers(0.5, 0.9, 0.2)),
            branch(prompts=prompts, answers=answers(0.5, 0.1, 0.4)),
        ]
    )
    first, second, _ = answers_beside(two)
    assert (first.prompt, second.prompt) == ("text of prompt-001", "text of prompt-002")
    assert [(one.label, one.text, one.note) for one in first.answers] == [
        ("demo-cpu", "says 0.9", "score 0.9"),
        ("demo-cpu-from-1", "says 0.1", "score 0.1"),
    ]
    assert "says 0.9" in render_page(two) and answers_beside(TWO) == ()


def test_the_terminal_shows_hostile_texts_by_number() -> None:
    console = Console(width=100, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(render_comparison(hostile()), crop=False)
    text = captured.get()
    assert not any(ord(c) < 32 and c not in "\n\t" for c in text)
    assert "\u202e" not in text and "⟨U+001B⟩" in text
