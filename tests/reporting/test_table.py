"""Sentences, terminal tables and JSON of a campaign."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from demo_summary import demo, measured, metrics
from rich.console import Console

from dpo_core.campaign.metric_columns import COLUMNS
from dpo_core.campaign.retractions import Retraction
from dpo_core.campaign.rollbacks import Rollback
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.text import printed_json, visible
from reporting.as_json import as_json
from reporting.at_a_glance import at_a_glance
from reporting.sections import sections
from reporting.sentences import cautions, headline, override_sentences, verdict
from reporting.summary import CampaignSummary
from reporting.terminal import render_table


def _with(*rounds: RoundMetrics) -> CampaignSummary:
    return replace(demo(), rounds=rounds)


def _printed(summary: CampaignSummary, width: int, *, whole: bool = True) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width).print(render_table(summary, whole=whole), crop=False)
    return screen.getvalue()


def test_the_first_screen_names_how_to_see_the_rest() -> None:
    short, all_tables = (_printed(demo(), 90, whole=whole) for whole in (False, True))
    titles = [section.title for section in sections(demo())]
    shown = [title for title in titles if title in short.splitlines()]
    assert shown == titles[: len(shown)] and "Is it better?" in shown
    assert f"{len(titles) - len(shown)} more tables: ratchet status" in short
    assert not {"more", "tables:"} & set(all_tables.split())
    assert set(titles) <= set(all_tables.splitlines())


def test_headline_names_the_last_promoted_round_with_its_numbers() -> None:
    summary = demo()
    row = summary.rounds[-1]
    rate, low, high = (100 * (value or 0) for value in row.interval("win_rate_base"))
    assert headline(summary) == (
        f"Round 3 beats the base with a win rate of {rate:.1f}% "
        f"[95% CI {low:.1f}, {high:.1f}] on {row.test_prompts} held-out prompts; "
        f"KL to base {row.kl_base_nats:.2f} nats."
    )


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (
            0.60,
            "beats the base with a win rate of 60.0% [95% CI 56.0, 64.0] on 512",
        ),  # the interval is ± 4 points: wholly above one half
        (0.52, "is not clearly better than the base, with a win rate of 52.0% ["),
        (0.40, "is worse than the base, with a win rate of 40.0% ["),
    ],
)
def test_headline_claims_only_what_the_interval_allows(rate: float, words: str) -> None:
    assert f"Round 1 {words}" in headline(_with(measured(1, rate, 0.55, 0.55, 0.2)))


def test_headline_tells_of_rounds_that_were_not_promoted() -> None:
    first, second = measured(1, 0.6, 0.6, 0.6, 0.2), measured(2, 0.7, 0.48, 0.49, 0.4)
    assert "Round 1 beats" in headline(_with(first, second))
    assert headline(_with(first, second)).endswith("Round 2 was not promoted.")
    assert headline(_with(second)).startswith("No round was promoted: the base is current.")


def test_headline_and_first_screen_are_of_the_policy_that_stands() -> None:
    rows = [measured(n, 0.5 + 0.1 * n, 0.6, 0.6, 0.2) for n in (1, 2)]
    gate = {"action": "rollback", "goes_on_from": 1}
    summary = _with(*rows, measured(3, 0.8, 0.6, 0.6, 0.2, promoted=False, gate=gate))
    said = headline(summary)
    assert said.startswith("Round 1 beats the base with a win rate of 60.0%")
    assert said.endswith("Round 2 was promoted and later rolled back. Round 3 was not promoted.")
    assert at_a_glance(summary)[0][1].startswith("Win rate vs. base: 60.0%")
    by_person = replace(summary, rollbacks=(Rollback(3, 2, "ann", "2026-01-05", ""),))
    assert headline(by_person).startswith("Round 2 beats the base with a win rate of 70.0%")
    assert at_a_glance(by_person)[0][1].startswith(
        "Win rate vs. base: 70.0% [95% CI 66.0, 74.0]; vs. round 1: 60.0%"
    )
    to_base = replace(summary, rollbacks=(Rollback(3, 0, "ann", "2026-01-05", ""),))
    assert headline(to_base) == (
        "The base is current. Rounds 1 and 2 were promoted and later rolled back."
    )


def test_headline_without_numbers() -> None:
    assert headline(_with()) == "No round has finished yet."
    older = {
        k: v for k, v in metrics(1, 0.8, 0.6, 0.6, 0.2).items() if k[-4:] not in ("_low", "high")
    }
    assert headline(_with(RoundMetrics.model_validate(older))).startswith(
        "Round 1 wins 80.0% on 512 held-out prompts vs. the base (no confidence interval);"
    )
    assert "has not been compared" in headline(_with(RoundMetrics(round=1, promoted=True)))


def test_verdict_gives_the_gate_that_decided() -> None:
    row = measured(2, 0.7, 0.48, 0.49, 0.4)  # gate interval: ± 4.2 points
    assert verdict(row).startswith(
        "Not promoted: win rate 49.0% [95% CI 44.8, 53.2] vs. the previous policy on 256 gate "
        "prompts; it beats the base with a win rate of 70.0% [66.0, 74.0] on"
    )


def test_longer_and_truncated_answers_are_pointed_out() -> None:
    row = measured(1, 0.7, 0.7, 0.7, 0.4, length_mean=48.2, truncated_share=0.104)
    summary = _with(row)  # the base: 24.1 tokens, 0.4 % truncated
    found = cautions(summary, row)
    assert "100.0% longer" in found[0]
    assert "10.4% of answers are truncated" in found[1]
    assert cautions(demo(), demo().rounds[0]) == ()


def test_answers_that_belong_to_no_request_are_pointed_out() -> None:
    fell = {"relevance": 0.825, "relevance_base": 0.919, "base_nats_per_token": 3.54}
    row = measured(1, 0.7, 0.7, 0.7, 0.4, **fell, relevance_change_base_high=-0.05)
    summary = replace(_with(row), base={**demo().base, "relevance": 0.919})
    assert (
        "Only 82.5% of answers match their prompts, vs. 91.9% for the base."
        in dict(at_a_glance(summary))["Can I trust it?"]
    )
    printed = _printed(summary, 100)
    assert "Do answers match their prompts?" in printed
    assert "91.9" in printed and "82.5" in printed and "3.54" in printed
    unclear = measured(1, 0.7, 0.7, 0.7, 0.4, **fell, relevance_change_base_high=0.01)
    assert "match their prompts" not in dict(at_a_glance(_with(unclear)))["Can I trust it?"]


def test_early_warnings_of_the_training_stand_with_the_cautions() -> None:
    said = "Training, step 9: margins saturate\x1b: at 44.0 nats."
    row = measured(1, 0.7, 0.7, 0.7, 0.4, warnings={"margins_saturate": said})
    assert cautions(_with(row), row) == (said.replace("\x1b", "⟨U+001B⟩"),)
    assert "! round 1: Training, step 9: margins saturate" in _printed(_with(row), 100)
    given = row.given()
    del given["warnings"]
    older = RoundMetrics.model_validate(given)
    assert cautions(_with(older), older) == ()


def test_what_was_taken_back_is_told() -> None:
    at = {"by": "ann@host", "at": "2026-01-05T10:00:00+00:00"}
    summary = replace(
        demo(),
        retractions=(
            Retraction("human:bob\x1b", (1, 2, 3), (1, 2), **at),
            Retraction("rule:x", (2,), (2,), **at),
        ),
        directory="/a campaign",
        outdated=(1, 2, 3),
    )
    told = (
        "Labels by bob⟨U+001B⟩ are retracted in all rounds (present in rounds 1 and 2), by "
        "ann@host on 2026-01-05.",
        "Judgements by rule:x are retracted in round 2, by ann@host on 2026-01-05.",
        "Rounds 1, 2 and 3 are out of date after a retraction. To retrain, run "
        "`ratchet run '/a campaign/campaign.yaml' --campaign-dir '/a campaign'`.",
    )
    assert override_sentences(summary) == told
    assert "! Judgements by rule:x are retracted in round 2" in _printed(summary, 200)
    shown = as_json(summary)
    assert shown["taken_back"][1] == {"source": "rule:x", "rounds": [2], "used": [2], **at}
    assert shown["outdated"] == [1, 2, 3]
    assert override_sentences(demo()) == ()


def test_an_address_and_a_command_can_be_copied() -> None:
    url = "http://127.0.0.1:6900/dataset/c1513875-ba40-4baa-aee8-e6fa6fdd1996/annotation-mode"
    waiting = replace(demo(), state="waiting", doing=f"round 2 waits for people: label at {url}")
    assert url in _printed(waiting, 60)
    outdated = replace(demo(), directory="/campaigns/" + 60 * "x", outdated=(1,))
    command = f"ratchet run {outdated.directory}/campaign.yaml --campaign-dir {outdated.directory}"
    assert command in _printed(outdated, 60)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_terminal_shows_every_number_whole(width: int) -> None:
    wide = measured(12, 1.0, 1.0, 1.0, 12.34, measure_right_annotations=0.123)
    summary = _with(*demo().rounds, wide)
    printed = _printed(summary, width)
    assert all(len(line) <= width for line in printed.splitlines())
    assert "…" not in printed
    for section in sections(summary):
        for row in section.rows:
            assert all(cell in printed for cell in row)


def test_terminal_at_80_columns_keeps_tables_in_one_piece() -> None:
    heads = [line for line in _printed(demo(), 80).splitlines() if line.startswith("round")]
    assert len(heads) == len(sections(demo())) - 1  # the one of reasons starts otherwise


def test_terminal_obeys_nothing_from_the_campaign() -> None:
    hostile = {"dropped": {"\x1b[2J[red]bad": 3}, "measure_\x07x": 0.5}
    row = measured(1, 0.7, 0.7, 0.7, 0.4, **hostile)
    printed = _printed(replace(_with(row), name="[bold]x\x1b]0;", doing="\u202esample"), 80)
    assert not set(printed) & {"\x1b", "\x07", "\u202e"}
    assert "[bold]x⟨U+001B⟩]0;" in printed
    assert "⟨U+001B⟩[2J[red]bad" in printed


def test_visible_keeps_what_people_write() -> None:
    text = "Grüße\n\tالفيلم 映画 👩\u200d🚀"
    assert visible(text) == text
    assert visible("\x00\x9b\u202e\ud800") == "⟨U+0000⟩⟨U+009B⟩⟨U+202E⟩⟨U+D800⟩"


def test_printed_json_is_the_same_and_no_terminal_obeys_it() -> None:
    told = {"a\x9b2J": ["\x1b[31m\x7f", "\u202e", "\ud800", "\U000e0001", "Grüße 映画 👩\u200d🚀"]}
    text = printed_json(told)
    assert json.loads(text) == told
    assert not set(text) & {"\x1b", "\x7f", "\x9b", "\u202e", "\ud800", "\U000e0001"}
    assert "Grüße 映画 👩\u200d🚀" in text


def test_json_has_every_column_and_round_trips() -> None:
    shown = as_json(demo())
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert shown["version"] == 1
    for row, given in zip(shown["rounds"], demo().rounds, strict=True):
        assert {column.name for column in COLUMNS} <= row.keys()
        assert row["measure_accepted"] == given.number("measure_accepted")
        assert row["dropped"] == given.dropped


def test_json_writes_missing_numbers_as_null() -> None:
    row = measured(
        *(1, math.nan, 0.5, 0.5, math.inf),
        prompts=np.int64(7),
        loss=np.float64("nan"),
        promoted=np.bool_(True),
        dropped={"ties": np.int64(2)},
    )
    shown = json.loads(json.dumps(as_json(_with(row)), allow_nan=False))["rounds"][0]
    assert shown["win_rate_base"] is shown["kl_base_nats"] is shown["loss"] is None
    assert (shown["prompts"], shown["promoted"], shown["dropped"]) == (7, True, {"ties": 2})
