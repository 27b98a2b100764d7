"""The step `preferences` on records: targets that training reads, facts, drift, taking back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from record_session import Records, judged, labelled, open_session

from dpo_core.campaign.artifacts import Artifact
from dpo_core.schemas import COMPLETIONS
from dpo_core.tables import read_rows
from dpo_core.training.objective import StepObjective
from dpo_core.training.pairs.batching import collate
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.passes.pass_over_pairs import TokenLogps
from flows.round_state import PreferenceSources, RoundRecord
from flows.steps.aggregate import aggregate_preferences

BETA = 0.5


def rows_of(preferences: Artifact) -> dict[str, dict[str, Any]]:
    return {row["pair_id"]: row for row in read_rows(preferences.path("preferences.parquet"))}


def completion(name: str, tokens: list[int]) -> dict[str, Any]:
    return {
        "completion_id": name,
        "prompt_id": name[0],
        "text": name,
        "prompt_token_ids": [1],
        "token_ids": tokens,
        "finish_reason": "stop",
    }


def test_what_people_and_judges_say_is_the_target_of_the_loss(tmp_path: Path) -> None:
    """At zero margin the sigmoid loss falls by β·(p − ½) per nat of margin, p its soft target."""
    with open_session(tmp_path, training={"beta": BETA}) as session:
        records = Records(session)
        pairs = records.pairs(1, "xyz")
        judgements = records.judgements(
            1,
            [
                *(judged("llm", "x", "a"), judged("rule", "x", "a")),
                *(judged("llm", "y", "b"), judged("rule", "y", "a")),
                *(judged("llm", "z", "a"), judged("rule", "z", "b")),
            ],
        )
        labels = records.labels(
            1, [labelled("ann", "x", "a"), labelled("ann", "y", "tie"), labelled("bob", "y", "b")]
        )
        made = aggregate_preferences(session, 1, PreferenceSources(pairs, judgements, labels))
        answers = [completion(f"{i}{side}", [5, 6]) for i in "xy" for side in "ab"]
        completions = records.write(1, "completions", answers, COMPLETIONS)
        config = session.config.training
    # x: 3 of 3 for a, 3.5/4. y: 2 of 4 for b and half a vote, (2.5 + ½)/5. z: one each.
    expected = {"x": 0.875, "y": 0.6}
    found = rows_of(made)
    assert {i: row["p_chosen"] for i, row in found.items()} == pytest.approx(expected)
    assert (found["x"]["chosen"], found["y"]["chosen"]) == ("xa", "yb")
    assert found["y"]["agreement"] == 0.5
    assert found["y"]["sources"] == ["llm", "rule", "human:ann", "human:bob"]
    assert made.entry.dropped == {"tie": 1}

    loaded = load_pairs(
        made.path("preferences.parquet"), completions.path("completions.parquet"), tmp_path
    )
    step = [loaded[i] for i in range(len(loaded))]
    assert [pair.p_chosen for pair in step] == [found[pair.pair_id]["p_chosen"] for pair in step]
    zero = {pair.pair_id: (0.0, 0.0) for pair in step}
    slopes = StepObjective(step, zero, config).slopes(step, TokenLogps(torch.zeros(8)))
    for pair, of_pair in zip(step, slopes.split(4), strict=True):
        pull = BETA * (expected[pair.pair_id] - 0.5) / len(step)
        assert of_pair.tolist() == pytest.approx([-pull, -pull, pull, pull])


def test_the_facts_of_a_round(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        records = Records(session)
        labels = [
            labelled("ann", "x", "a", shown_first="b"),
            labelled("ann", "y", "b"),
            labelled("ann", "g", "b", kind="gold", expected="a", shown_first="b"),
        ]
        said = PreferenceSources(
            records.pairs(1, "xy"),
            records.judgements(1, [judged("llm", "x", "a"), judged("llm", "y", "b")]),
            records.labels(1, labels),
        )
        made = aggregate_preferences(session, 1, said)
    facts = made.entry.facts
    assert (facts["method"], facts["targets"], facts["drift"]) == ("majority", "soft", [])
    assert facts["agreement"] == {
        "mean": {"value": 1.0, "n": 2},
        "alpha": {"value": None, "n": 0, "people": 0},
        "kappa": {"llm": {"value": 1.0, "n": 2, "agree": 1.0}},
        "with_others": {"human:ann": {"value": 1.0, "n": 2}, "llm": {"value": 1.0, "n": 2}},
    }
    assert facts["annotators"] == {
        "ann": {
            "labels": 2,
            "discarded": 0,
            "gold": {"value": 0.0, "n": 1},
            "repeats": {"value": None, "n": 0},
            "shown_first": {"value": 0.5, "n": 2},
        }
    }


def test_taking_back_makes_the_round_again_only_where_it_was_used(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        records = Records(session)
        said = PreferenceSources(
            records.pairs(1, "x"),
            records.judgements(1, [judged("llm", "x", "a")]),
            records.labels(1, [labelled("ann", "x", "b"), labelled("bob", "x", "b")]),
        )
        before = aggregate_preferences(session, 1, said)
        elsewhere = aggregate_preferences(session, 1, said, retracted=["human:carl"])
        after = aggregate_preferences(session, 1, said, retracted=["human:carl", "human:ann"])
        both = aggregate_preferences(session, 1, said, retracted=["human:ann", "human:bob"])
    assert elsewhere.cached and elsewhere.entry.fingerprint == before.entry.fingerprint
    # b by 2 of 3; then one each; then a alone, a lone source.
    assert rows_of(before)["x"]["chosen"] == "xb" and before.entry.facts["retracted"] == []
    assert after.entry.dropped == {"tie": 1} and after.entry.facts["retracted"] == ["human:ann"]
    assert "ann" not in after.entry.facts["annotators"]
    assert (rows_of(both)["x"]["chosen"], rows_of(both)["x"]["p_chosen"]) == ("xa", 1.0)


def test_a_judge_that_leaves_the_others_raises_an_alarm(tmp_path: Path) -> None:
    """llm agrees with rule on 10 of 10, then on 4 of 10; the third round sees both before."""
    with open_session(tmp_path) as session:
        records = Records(session)

        def play(number: int, same: int, earlier: list[RoundRecord]) -> Artifact:
            ids = [f"{number}-{i}" for i in range(10)]
            said = [judged("rule", i, "a") for i in ids]
            said += [judged("llm", i, "a" if n < same else "b") for n, i in enumerate(ids)]
            of = PreferenceSources(records.pairs(number, ids), records.judgements(number, said))
            return aggregate_preferences(session, number, of, earlier)

        first = play(1, 10, [])
        second = play(2, 4, [RoundRecord({"preferences": first}, None)])
        again = play(2, 4, [RoundRecord({"preferences": first}, None)])
    assert first.entry.facts["drift"] == [] and again.cached
    (of_llm, of_rule) = second.entry.facts["drift"]
    assert (of_llm["source"], of_llm["before"], of_llm["now"]) == ("llm", 1.0, 0.4)
    assert of_llm["alarm"] and of_llm["sentence"].startswith("llm: agreement with the others fell")
    assert of_rule["alarm"]  # two that part ways: neither is known to be the one that moved
    assert second.entry.inputs["measured"]


def test_a_cut_answer_that_is_rejected_is_never_preferred(tmp_path: Path) -> None:
    """Whoever prefers it; as the rejected one it is trained on as it was sampled: without EOS, with
    the log-probs of the tokens that there are."""
    eos, told = 2, {"rejected": [-1.0, -0.5]}
    pairs = {"strategy": "random", "truncated": "reject"}
    with open_session(tmp_path, pairs=pairs) as session:
        records = Records(session)
        answers = [completion(f"{i}{side}", [5, eos]) for i in "xy" for side in "ab"]
        for row in answers:
            row["token_logps"] = [-0.25, -0.25]
            if row["completion_id"] in ("xa", "yb"):
                row |= {"finish_reason": "length", "token_ids": [6, 7]}
                row["token_logps"] = told["rejected"]
        completions = records.write(1, "completions", answers, COMPLETIONS)
        said = [judged(source, i, "a") for i in "xy" for source in ("llm", "rule")]
        of = PreferenceSources(
            records.pairs(1, "xy"), records.judgements(1, said), completions=completions
        )
        made = aggregate_preferences(session, 1, of)
    assert made.entry.dropped == {"truncated": 1}, "a of x was cut"
    [pair] = load_pairs(
        made.path("preferences.parquet"), completions.path("completions.parquet"), tmp_path
    )
    assert (pair.chosen_ids, pair.rejected_ids) == ([5, eos], [6, 7])
    assert pair.sampled_logps == (-0.5, sum(told["rejected"]))
    mask_BT = collate([pair], torch.device("cpu")).completion_mask_BT
    assert mask_BT.sum(1).tolist() == [2, 2], "two tokens of each, none added"


def test_a_lone_rule_stays_certain(tmp_path: Path) -> None:
    judge = {"function": "my:rule", "id": "rule"}
    with open_session(
        tmp_path, judge=judge, evaluation_judge=None, pairs={"truncated": "drop"}
    ) as session:
        records = Records(session)
        said = [judged("rule", "x", "b"), judged("rule", "y", "tie"), judged("rule", "z", None)]
        of = PreferenceSources(records.pairs(1, "xyz"), records.judgements(1, said))
        made = aggregate_preferences(session, 1, of)
    assert [(r["chosen"], r["p_chosen"]) for r in rows_of(made).values()] == [("xb", 1.0)]
    assert made.entry.dropped == {"tie": 1, "unreadable": 1}
    assert made.entry.facts["targets"] == "hard"
