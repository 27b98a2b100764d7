"""The experiment on a real model, at a tiny size: what is kept and read, what the page says."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.real import demands, numbers, page
from benchmarks.real.__main__ import parse, with_earlier
from benchmarks.real.after import Asked, ask, weigh
from benchmarks.real.arms import ARMS, recipe_text
from benchmarks.real.campaign import Campaign
from benchmarks.real.kept import Took, kept
from benchmarks.real.questions import Questions, Text, ifeval, plain_texts, solutions, unseen
from benchmarks.real.results import (
    Answered,
    Answers,
    Example,
    Likelihood,
    Result,
    read_result,
    read_results,
    write_result,
)
from benchmarks.real.trl_side import rewards_of
from dpo_core.campaign.facts import read_round_metrics
from dpo_core.campaign.layout import Layout
from dpo_core.evaluation.intervals import Interval
from dpo_core.records import Completion, Score
from dpo_core.tables import read_rows
from examples.instructions.prompts import trained
from generation.config import PromptsConfig
from generation.prompts import read_pool
from tests.flows.small_campaign import finish
from tests.made_once import made_once

PROMPTS = 600


def answers(followed: int, cut: int = 0, tokens: int = 40, relevant: int = 90) -> Answers:
    """The first so many of PROMPTS follow, and the last `cut` are cut; of the first 100, so many
    are relevant."""
    return Answers(
        [n < followed for n in range(PROMPTS)],
        [n < PROMPTS - cut for n in range(PROMPTS)],
        [tokens] * PROMPTS,
        [n < relevant if n < 100 else None for n in range(PROMPTS)],
    )


def row(number: int, promoted: bool = True, kl: float = 0.5) -> dict[str, Any]:
    ends = {"kl_base_nats_low": kl - 0.1, "kl_base_nats_high": kl + 0.1}
    rest = {"pairs": 200, "seconds_round": 600.0, "kl_base_nats": kl}
    return {"round": number, "promoted": promoted, **ends, **rest}


def result(seed: int, *followed: int, arm: str = "rounds", **changes: Any) -> Result:
    """Rounds that follow so often, out of PROMPTS; the base does in 120."""
    groups = [f"p{n}" for n in range(PROMPTS)]
    policies = {0: answers(120, cut=240), **{n: answers(k) for n, k in enumerate(followed, 1)}}
    given: dict[str, Any] = {
        "rounds": [row(number) for number in range(1, len(followed) + 1)],
        "policies": {number: f"{seed}-{number}" for number in policies},
        "trained": Answered(groups, policies),
        "took": {"campaign": Took(1800.0, 3000.0), "ifeval": Took(9000.0, 9000.0)},
        "facts": {"load_average": 1.0, "sets": [], "commit": "abc"},
        "examples": [Example("Say hello. Use no commas.", "Hello, you", "hello")],
    }
    return Result(arm, seed, **{**given, **changes})


def asked(base: int, final: int, unknown: int = 0) -> Answered:
    """Of 400 prompts; the first `unknown` cannot be checked."""
    groups = [f"q{n}" for n in range(400)]
    found = {}
    for number, count in ((0, base), (3, final)):
        marks = [None if n < unknown else n < unknown + count for n in range(400)]
        found[number] = Answers(marks, [True] * 400, [30] * 400)
    return Answered(groups, found)


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


def test_a_part_is_made_once_and_as_a_whole(tmp_path: Path) -> None:
    part, made = tmp_path / "parts" / "one", []

    def dies(beside: Path) -> None:
        (beside / "half.txt").write_text("half")
        raise KeyboardInterrupt

    def makes(beside: Path) -> None:
        made.append(sorted(path.name for path in beside.iterdir()))
        (beside / "whole.txt").write_text("whole")
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass

    with pytest.raises(KeyboardInterrupt):
        kept(part, dies)
    assert not part.exists()
    took = kept(part, makes)
    assert made == [[]], "nothing is left of the one that died"
    assert took.wall_s > 0 and took.cpu_s >= 0.09
    assert (kept(part, makes), len(made)) == (took, 1)
    assert sorted(path.name for path in part.iterdir()) == ["took.json", "whole.txt"]


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    texts = {"plain": Likelihood([3, 4], {0: [1.25, 2.5], 2: [1.0, 3.125]})}
    one = result(1, 200, 300, after={"ifeval": asked(100, 120, unknown=7)}, texts=texts)
    path = write_result(one, tmp_path)
    assert path.name == "seed-1.json"
    read, text = read_result(path), path.read_text()
    assert list(read.after["ifeval"].policies[3].followed[:8]) == [None] * 7 + [True]
    assert (read.rounds, read.texts, read.took, read.final) == (one.rounds, texts, one.took, 2)
    write_result(read, tmp_path)
    assert path.read_text() == text
    assert path.stat().st_size < 30_000
    write_result(result(1, 200, arm="offline"), tmp_path)
    assert [(each.arm, each.seed) for each in read_results(tmp_path)] == [
        ("offline", 1),
        ("rounds", 1),
    ]
    path.write_text('{"format": 0}')
    with pytest.raises(ValueError, match="no result of format"):
        read_result(path)


def test_what_an_earlier_call_measured_of_the_same_policies_stays(tmp_path: Path) -> None:
    write_result(result(1, 200, after={"ifeval": asked(100, 120), "unseen": asked(9, 9)}), tmp_path)
    again = with_earlier(result(1, 200, after={"unseen": asked(7, 8)}), tmp_path)
    assert sum(map(bool, again.after["unseen"].policies[3].followed)) == 8
    assert numbers.change([(again.after["ifeval"], 3, 0)], "followed") is not None
    others = {number: f"another {number}" for number in (0, 1)}
    assert with_earlier(result(1, 200, policies=others), tmp_path).after == {}
    assert with_earlier(result(2, 200), tmp_path).after == {}


# ── what is measured ─────────────────────────────────────────────────────────────────────────────


def test_changes_are_paired_and_seeds_pooled() -> None:
    up, down = result(1, 180, 240), result(2, 90)  # of 600: +20 points, -5 points
    assert found(numbers.change(numbers.trained([up]), "followed")) == pytest.approx(0.2)
    together = numbers.change(numbers.trained([up, down]), "followed")
    assert found(together) == pytest.approx((120 - 30) / 1200)
    assert found(numbers.change(numbers.trained([up]), "cut")) == pytest.approx(-0.4)
    assert found(demands.step(up, 2)) == pytest.approx(0.1)
    refused = result(1, 180, 60, 240, rounds=[row(1), row(2, promoted=False), row(3)])
    assert (refused.final, numbers.predecessor(refused, 3)) == (3, 1)
    assert found(demands.step(refused, 3)) == pytest.approx(0.1)


def test_prompts_about_one_request_are_no_independent_evidence() -> None:
    alone = result(1, 180)
    alike = result(
        1, 180, trained=Answered([f"{n // 6}" for n in range(PROMPTS)], alone.trained.policies)
    )
    widths = []
    for one in (alone, alike):
        interval = numbers.change(numbers.trained([one]), "followed")
        assert interval is not None
        widths.append(interval.high - interval.low)
    assert widths[1] == pytest.approx(6**0.5 * widths[0], rel=0.15)  # six say what one does


def test_what_nobody_could_check_is_left_out() -> None:
    one = result(1, 200, 200, 200, after={"ifeval": asked(100, 120, unknown=40)})
    assert found(numbers.change(numbers.after([one], "ifeval"), "followed")) == pytest.approx(
        20 / 360
    )
    assert found(numbers.share(one.after["ifeval"], 0, "followed")) == pytest.approx(100 / 360)


def test_nats_of_texts_are_per_token() -> None:
    texts = {"plain": Likelihood([2, 8], {0: [4.0, 16.0], 1: [5.0, 17.0]})}
    one = result(1, 200, texts=texts)
    assert numbers.nats(one, "plain", 0) == 2.0
    assert found(numbers.nats_change([one], "plain")) == pytest.approx(0.2)
    assert numbers.nats_change([one], "gsm8k") is None


def found(interval: Interval | None) -> float:
    assert interval is not None and interval.low <= interval.estimate <= interval.high
    return interval.estimate


# ── what the page says ───────────────────────────────────────────────────────────────────────────


def verdicts(*results: Result, seeds: tuple[int, ...] = (1,)) -> dict[str, str]:
    return {demand.what: demand.verdict(results, seeds) for demand in demands.DEMANDS}


WORSE: dict[str, tuple[str, Callable[[], Result]]] = {
    "too few prompts": ("500 test", lambda: result(1, 300, trained=few(result(1, 300), 499))),
    "too little followed": ("floor +15", lambda: result(1, 150)),
    "short of the target": ("target +25", lambda: result(1, 265)),
    "a step back": ("clearly below", lambda: result(1, 400, 320)),
    "answers to nothing": ("relevance@8", lambda: result(1, 300, trained=with_final(relevant=86))),
    "cut more often": ("cut share", lambda: result(1, 300, trained=with_final(cut=241))),
    "short answers": ("mean length", lambda: result(1, 300, trained=with_final(tokens=27))),
    "far away": ("2 nats", lambda: result(1, 300, rounds=[row(1, kl=2.01)])),
    "unseen worse": ("never trained", lambda: after_three("unseen", 100)),
    "IFEval worse": ("prompt-level strict", lambda: after_three("ifeval", 180)),
    "too long": ("60 minutes", lambda: result(1, 300, took={"campaign": Took(3700.0, 0.0)})),
}  # fmt: skip


def after_three(name: str, final: int) -> Result:
    """The base follows in 200 of 400."""
    return result(1, 300, 300, 300, after={name: asked(200, final)})


def few(one: Result, count: int) -> Answered:
    cut = {
        number: Answers(*(column[:count] for column in vars(each).values()))
        for number, each in one.trained.policies.items()
    }
    return Answered(one.trained.groups[:count], cut)


def with_final(**changes: int) -> Answered:
    base = result(1, 300).trained
    return Answered(base.groups, {0: base.policies[0], 1: answers(300, **changes)})


@pytest.mark.parametrize("name", WORSE)
def test_a_demand_that_is_not_met_is_said(name: str) -> None:
    what, make = WORSE[name]
    said = {demand: verdict for demand, verdict in verdicts(make()).items() if what in demand}
    assert len(said) == 1 and next(iter(said.values())).startswith("**no**"), said


def test_demands_are_met_by_all_seeds_or_by_them_together() -> None:
    after = {"unseen": asked(200, 200), "ifeval": asked(100, 150)}
    good = [result(seed, 250, 280, 300, after=after) for seed in (1, 2, 3)]
    assert set(verdicts(*good, seeds=(1, 2, 3)).values()) == {"yes"}
    two = verdicts(*good[:2], seeds=(1, 2, 3))
    assert set(two.values()) == {"so far (without seed 3)"}
    third = result(3, 130, 130, 130, after={"ifeval": asked(100, 90)})
    mixed = verdicts(*good[:2], third, seeds=(1, 2, 3))
    floor, ifeval_floor, other = (
        next(v for what, v in mixed.items() if word in what)
        for word in ("floor +15", "prompt-level strict", "never trained")
    )
    assert floor == "**no** (seed 3)"
    assert ifeval_floor == "yes"  # (50 + 50 - 10) / 1,200
    assert other == "not measured"


def test_the_page_says_what_is_missing_and_what_was_measured(tmp_path: Path) -> None:
    texts = {"gsm8k": Likelihood([2, 8], {0: [4.0, 16.0], 3: [5.0, 17.0]})}
    after = {"unseen": asked(200, 210), "ifeval": asked(100, 150, unknown=40)}
    one = result(1, 180, 240, 300, after=after, texts=texts)
    refused = result(2, 130, rounds=[row(1, promoted=False)])
    out = tmp_path / "page.md"
    others = [result(1, 150, arm="offline"), result(1, 130, 140, arm="trl")]
    page.write_page([one, refused, *others], out)
    text = out.read_text()
    assert "**Not run yet**: seed 3." in text
    assert "| 1 | base |  | 20.0 [" in text and "| 1 | 3 | 200 | 50.0 [" in text
    assert "| 2 | 1, refused | 200 | 21.7 [" in text
    assert "Of IFEval's 400 prompts 40 could not be checked" in text
    assert "| GSM8K's solutions, nats per token | 1 | 2.000 | 2.200 | +0.200 [" in text
    assert "| as many labels in one offline round | 1 | +5.0 [" in text
    assert "Seed 1: followed +1.7 [" in text and "] after 200 pairs, +3.3 [" in text
    assert "stopped after 1 times the campaign's CPU time (3 times were asked for)" in text
    assert "**Say hello. Use no commas.**" in text
    assert (tmp_path / page.FIGURE).read_text().startswith("<svg")
    page.write_page([one, result(1, 160, 200, 240, arm="again")], out)
    again = out.read_text()
    assert "## Seed 1 once more, on another processor" in again
    assert "| 1 | 3 | 200 | 40.0 [" in again and " once more" not in text
    page.write_page([], tmp_path / "none.md")
    assert "**Not run yet**: seed 1, 2, 3." in (tmp_path / "none.md").read_text()


# ── what is asked ────────────────────────────────────────────────────────────────────────────────


def test_unseen_prompts_are_about_requests_that_are_held_out() -> None:
    config = PromptsConfig.model_validate(recipe_text()["prompts"])
    found = unseen(config, max_tokens=112)
    kinds = {tag for row in trained() for tag in row["tags"]}
    assert len(found.rows) == 256
    assert not {tag for row in found.rows for tag in row["tags"]} & kinds
    held_out = {p.extra["group"] for p in read_pool(config) if p.split == "test"}
    assert {row["group"] for row in found.rows} <= held_out


def test_files_of_others_are_asked_as_chats(tmp_path: Path) -> None:
    (tmp_path / "input_data.jsonl").write_text(
        '{"key": 1, "prompt": "Hi", "instruction_id_list": ["a:b"], "kwargs": [{}]}\n'
    )
    (tmp_path / "test.jsonl").write_text(
        '{"question": "1 + 1?", "answer": "It is 1 + 1 = <<1+1=2>>2.\\n#### 2"}\n'
    )
    [row] = ifeval(tmp_path).rows
    assert row["messages"] == [{"role": "user", "content": "Hi"}] and "prompt" not in row
    assert (row["instruction_id_list"], row["kwargs"]) == (["a:b"], [{}])
    [solution] = solutions(tmp_path)
    assert solution.text == "It is 1 + 1 = 2.\n#### 2" and solution.prompt is not None
    assert len(plain_texts()) >= 20


def test_a_folder_without_its_file_is_refused(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--ifeval", str(tmp_path)])
    assert ended.value.code == 2
    assert "there is no input_data.jsonl in that folder" in capsys.readouterr().err


def test_the_offline_arm_has_as_many_labels() -> None:
    recipe = recipe_text()
    prompts = recipe["rounds"] * recipe["prompts"]["per_round"]
    assert ARMS["offline"].sets == ["rounds=1", f"prompts.per_round={prompts}"]
    assert ARMS["rounds"].sets == [] and recipe["rounds"] == 3


def test_trl_is_rewarded_by_the_recipes_rule() -> None:
    row = json.dumps({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]})
    prompt = [{"role": "user", "content": "Say how you are. Do not use any commas."}]
    good, bad = "I am well today and so is my old dog.", "I am well, and so is my old grey dog."
    said = [[{"role": "assistant", "content": text}] for text in (good, bad, good)]
    ids = [[5, 6, 2], [5, 6, 2], [5, 6, 7]]  # the last one was cut
    assert rewards_of(2)([prompt] * 3, said, ids, row=[row] * 3) == [1.0, 0.0, 0.0]


# ── a small campaign ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    root = made_once(tmp_path_factory, "finished", finish) / "campaign"
    rows = [row.given() for n in (1, 2) if (row := read_round_metrics(Layout(root), n))]
    return Campaign(root, rows)


def test_a_campaign_is_read_prompt_by_prompt(campaign: Campaign) -> None:
    found = campaign.trained
    assert sorted(found.policies) == [0, 1, 2] and len(found.groups) == 24
    for number, measured in ((1, campaign.rows[0]), (2, campaign.rows[1])):
        tokens = found.policies[number].tokens
        assert sum(tokens) / 24 == pytest.approx(measured["length_mean"])
        cut = numbers.share(found, number, "cut")
        assert cut is not None and cut.estimate == pytest.approx(measured["truncated_share"])
        assert list(found.policies[number].relevant) == [None] * 24  # they are no chats
    assert campaign.rounds[1]["kl_base_nats"] == campaign.rows[1]["kl_base_nats"]
    [example] = campaign.examples
    assert example.base and example.base != example.final


@pytest.mark.proof
def test_both_policies_are_asked_once(campaign: Campaign, tmp_path: Path) -> None:
    texts = {
        "short": [Text("the plot was very great and i loved it .")],
        "long": [Text("the " * 2000)],
    }
    folders = {number: campaign.policy(number) for number in (0, campaign.final)}
    asked = Asked(campaign.config, campaign.final, folders)
    found, took = weigh(asked, texts, tmp_path)
    short = found["short"]
    assert short.tokens[0] > 5 and not found["long"].tokens
    assert 0 < short.nats[0][0] != short.nats[campaign.final][0] > 0
    again, same = weigh(asked, texts, tmp_path)
    assert (again, same) == (found, took)
    rows = [{"prompt": text} for text in ("the plot was", "i loved")]
    questions = Questions("few", rows, "tests.benchmarks.test_real:cut", cut, 4, ["threads=1"])
    answered, _, folder = ask(asked, questions, tmp_path)
    assert folder.parent.parent == tmp_path
    assert len(read_rows(folder / "answers_a.parquet")) == 2
    for one in answered.policies.values():
        assert list(one.followed) == [not finished for finished in one.finished]


def cut(completions: Sequence[Completion]) -> list[Score]:
    """A judge: 1 for an answer that was cut."""
    return [Score(float(not completion.finished)) for completion in completions]
