"""One small real campaign, as plain Python: what it leaves on disk, and what a re-run repeats."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from small_campaign import CONFIG, JUDGE, STEPS, UNTRAINED, Campaign

from dpo_core import schemas
from dpo_core.campaign.current import read_current
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.metric_columns import COLUMNS, JSON_COLUMNS
from dpo_core.hashing import file_sha256, policy_id
from dpo_core.tables import read_rows


def named(entries: list[Entry]) -> list[tuple[int, str]]:
    return [(entry.round, entry.step) for entry in entries]


SCHEMAS = {
    "prompts": ("prompts.parquet", schemas.PROMPTS),
    "completions": ("completions.parquet", schemas.COMPLETIONS),
    "scores": ("scores.parquet", schemas.SCORES),
    "pairs": ("pairs.parquet", schemas.PAIRS),
    "judgements": ("judgements.parquet", schemas.JUDGEMENTS),
    "preferences": ("preferences.parquet", schemas.PREFERENCES),
    "answers": ("completions.parquet", schemas.COMPLETIONS),
    "answer_scores": ("scores.parquet", schemas.SCORES),
    "answer_logps": ("logps.parquet", schemas.POLICY_LOGPS),
    "evaluation": ("outcomes.parquet", schemas.OUTCOMES),
}


def columns(schema: Any) -> dict[str, str]:
    """Name → type; parquet calls the values of a list `element`, Arrow calls them `item`."""
    return {field.name: str(field.type).replace("element:", "item:") for field in schema}


def test_every_artifact_is_there_with_its_schema(finished: Campaign) -> None:
    for number in (1, 2):
        for step, (name, schema) in SCHEMAS.items():
            artifact = finished.artifact(number, step)
            assert columns(pq.read_schema(artifact.path(name))) == columns(schema), step
        policy = finished.artifact(number, "training").path("policy")
        assert policy_id(policy) == finished.artifact(number, "training").entry.facts["policy"]
        assert not list(policy.glob("*.bin"))
        assert json.loads(finished.artifact(number, "gate").path("metrics.json").read_text())
    assert finished.layout.report.exists() and finished.layout.metrics.exists()
    assert not list(finished.layout.root.rglob("*.partial")), "unfinished work"


def test_ledger_has_one_line_per_step_with_the_hashes_of_its_files(finished: Campaign) -> None:
    base = [(0, step) for step in ("held_out", "base", "answers", "answer_scores")]
    rounds = [(number, step) for number in (1, 2) for step in STEPS]
    assert named(finished.entries()) == base + rounds
    for entry in finished.entries():
        folder = finished.artifact(entry.round, entry.step).folder
        assert {name: file_sha256(folder / name) for name in entry.outputs} == entry.outputs
        assert entry.threads == 1 and entry.seconds >= 0 and entry.at
        if entry.step in ("completions", "answers", "training", "base"):
            assert entry.versions["torch"]


def test_nothing_disappears_silently(finished: Campaign) -> None:
    by_name = {(entry.round, entry.step): entry for entry in finished.entries()}
    for entry in by_name.values():
        assert entry.came_in == entry.kept + sum(entry.dropped.values()), entry.step
    for number in (1, 2):
        kept = {step: by_name[number, step].kept for step in STEPS}
        came_in = {step: by_name[number, step].came_in for step in STEPS}
        assert came_in["completions"] == kept["prompts"] * 4 == 24 * 4
        assert came_in["scores"] == kept["completions"]
        assert came_in["pairs"] == kept["prompts"]  # at most one pair per prompt
        assert came_in["judgements"] == kept["pairs"]
        assert came_in["preferences"] == kept["pairs"]
        assert came_in["training"] == kept["preferences"]
        assert came_in["answers"] == 48 and came_in["evaluation"] == 2 * 48
        for step, (name, _) in SCHEMAS.items():
            rows = pq.read_metadata(finished.artifact(number, step).path(name)).num_rows
            expected = came_in[step] if step == "evaluation" else kept[step]
            assert rows == expected, step


def test_others_are_asked_about_answers_to_test_prompts_alone(finished: Campaign) -> None:
    held = read_rows(finished.artifact(0, "held_out").path("prompts.parquet"))
    splits = {row["prompt_id"]: row["split"] for row in held}
    for number in (1, 2):
        answers = read_rows(finished.artifact(number, "answers").path("completions.parquet"))
        logps = finished.artifact(number, "answer_logps")
        asked = defaultdict(list)
        for row in read_rows(logps.path("logps.parquet")):
            asked[row["policy"]].append(row["completion_id"])
        test = [row["completion_id"] for row in answers if splits[row["prompt_id"]] == "test"]
        assert finished.artifact(0, "base").entry.facts["policy"] in asked
        assert list(asked.values()) == [test] * len(asked) and len(test) == 24 < len(answers)
        assert set(logps.entry.outputs) == {"logps.parquet"}


def test_held_out_prompts_are_never_trained_on(finished: Campaign) -> None:
    def prompt_ids(number: int, step: str) -> list[str]:
        table = pq.read_table(finished.artifact(number, step).path("prompts.parquet"))
        return list(table["prompt_id"].to_pylist())

    held, first, second = (
        prompt_ids(0, "held_out"),
        prompt_ids(1, "prompts"),
        prompt_ids(2, "prompts"),
    )
    assert len(set(held + first + second)) == 48 + 24 + 24  # nor do rounds share a prompt


PROMISED = (
    "round prompts completions pairs loss accuracy margin kl_previous_nats kl_base_nats "
    "length_mean truncated_share win_rate_previous win_rate_previous_low win_rate_previous_high "
    "win_rate_base win_rate_base_low win_rate_base_high promoted seconds_sample seconds_train "
    "seconds_evaluate"
)


def test_metrics_have_the_documented_columns(finished: Campaign) -> None:
    frame = pd.read_parquet(finished.layout.metrics)
    assert set(PROMISED.split()) <= set(frame.columns)
    measures = {f"measure_stopped{end}" for end in ("", "_previous", "_base")}
    assert {column.name for column in COLUMNS} | measures <= set(frame.columns)
    assert list(frame["round"]) == [1, 2]
    assert frame["first_loss"].tolist() == pytest.approx([0.6931472] * 2, abs=1e-4)


EVALUATED = (
    "win_rate_previous lc_win_rate_previous lc_win_rate_base lc_win_rate_gate kl_previous_nats "
    "kl_reference_nats kl_base_nats kl_previous_nats_per_token kl_reference_nats_per_token "
    "kl_base_nats_per_token rating refusal_share training_score_mean "
    "training_win_rate_previous training_win_rate_base"
)


def test_evaluation_fills_all_its_columns(finished: Campaign) -> None:
    rows = pd.read_parquet(finished.layout.metrics).to_dict("records")
    for number, row in enumerate(rows, 1):
        for name in EVALUATED.split():
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"], name
            assert not name.startswith("kl_") or row[f"{name}_se"] > 0, name
        for name in ("distinct_1", "distinct_2", "self_similarity", "refusal_share"):
            assert 0 <= row[name] <= 1 and 0 <= row[f"{name}_base"] <= 1, name
        assert row["kl_reference_nats"] == row["kl_previous_nats"], "the reference is reset"
        assert row["training_score_mean"] == row["score_mean"], "one judge for both"
        assert row["training_win_rate_base"] == row["win_rate_base"], "one judge for both"
        told = {name: json.loads(row[name]) for name in JSON_COLUMNS}
        assert list(told["ratings"]) == [str(n) for n in range(number + 1)]
        assert told["ratings"][str(number)]["estimate"] == row["rating"]
        assert told["forgotten"]["compared"] == row["test_prompts"] == 24
        assert told["overlap"] == {"prompts": 0, "of": 48, "ngram": 13, "examples": []}
        assert (told["cycles"], told["slices"], told["suites"]) == ([], {}, {})
        assert ("same judge" in told["warnings"]) == (number == 1), "said once"
    assert "Training and evaluation share the judge" in finished.output.splitlines()[1]


def test_status_shows_the_same_numbers(finished: Campaign) -> None:
    status = finished.ratchet("status", "campaign", "--json")
    shown = json.loads(status.stdout)["rounds"]
    frame = pd.read_parquet(finished.layout.metrics)
    for row, stored in zip(shown, frame.to_dict("records"), strict=True):
        for name in {column.name for column in COLUMNS} - set(JSON_COLUMNS):
            if row[name] is None:
                assert pd.isna(stored[name]), name
            else:
                assert row[name] == stored[name], name
        assert {name: row[name] for name in JSON_COLUMNS} == {
            name: json.loads(stored[name]) for name in JSON_COLUMNS
        }
    table = finished.ratchet("status", "campaign").stdout
    assert "finished, 2 of 2 rounds done" in table and "\x1b" not in table
    assert max(map(len, table.splitlines())) <= 80


def test_tensorboard_shows_every_step_and_every_round(finished: Campaign) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def values(run: str, tag: str) -> list[float]:
        events = EventAccumulator(str(finished.layout.events(run)))
        events.Reload()
        return [event.value for event in events.Scalars(tag)]

    for number in (1, 2):
        curve = finished.artifact(number, "training").path("training.parquet")
        losses = pq.read_table(curve)["loss"].to_pylist()
        assert values(f"round-{number:02d}", "training/loss") == pytest.approx(losses)
    frame = pd.read_parquet(finished.layout.metrics)
    assert values("rounds", "rounds/entropy") == pytest.approx(frame["entropy"].tolist())


def test_output_without_a_terminal_is_one_line_per_step(finished: Campaign) -> None:
    output = finished.output
    assert "\x1b" not in output and "\r" not in output
    lines = output.splitlines()
    assert lines[0].startswith("campaign small in campaign, 2 rounds")
    steps = [line for line in lines if line.startswith(("base ", "round 1/2", "round 2/2"))]
    assert len(steps) >= 4 + 2 * len(STEPS)
    assert lines[-1].startswith("report: ")


def test_promoted_policy_is_where_the_next_round_starts(finished: Campaign) -> None:
    first, second = pd.read_parquet(finished.layout.metrics).to_dict("records")
    base = finished.artifact(0, "base").entry.facts["policy"]
    assert first["previous_policy"] == base
    for row in (first, second):
        assert row["promoted"] == (row["win_rate_gate"] > 0.5)
    assert second["previous_policy"] == (first["policy"] if first["promoted"] else base)
    last = second if second["promoted"] else first
    promoted = read_current(finished.layout).promoted
    assert promoted is not None
    assert promoted.policy == (last["policy"] if last["promoted"] else base)
    assert policy_id(finished.layout.root / promoted.path) == promoted.policy


def test_running_it_again_skips_everything(copy: Campaign) -> None:
    before = copy.layout.ledger.read_bytes()
    again = copy.run()
    assert again.returncode == 0, again.stderr
    assert copy.layout.ledger.read_bytes() == before
    assert f"{4 + 2 * len(STEPS)} finished steps taken from disk" in again.stdout
    assert not list(copy.layout.root.glob("campaign-v*.yaml"))


def test_prompts_that_come_later_are_for_later_rounds(tmp_path: Path) -> None:
    campaign = Campaign.create(tmp_path)
    config = {**CONFIG, **UNTRAINED, "rounds": 1}
    del config["sft"]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    assert campaign.run().returncode == 0
    before = campaign.layout.ledger.read_bytes()
    with (tmp_path / "prompts.jsonl").open("a") as file:
        file.write('{"prompt": "a prompt that came later"}\n')
    assert campaign.run().returncode == 0
    assert campaign.layout.ledger.read_bytes() == before


def made_anew(copy: Campaign, *arguments: str) -> list[tuple[int, str]]:
    before = len(copy.entries())
    done = copy.run(*arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return named(copy.entries()[before:])


def test_a_changed_beta_trains_again_and_judges_nothing_of_round_one_again(copy: Campaign) -> None:
    old = copy.layout.config.read_text()
    anew = made_anew(copy, "--set", "training.beta=0.4")
    trained_on = STEPS[STEPS.index("training") :]
    assert [step for number, step in anew if number == 1] == list(trained_on)
    assert [step for number, step in anew if number == 0] == []
    assert "prompts" not in [step for number, step in anew if number == 2], "the draw is frozen"
    assert (copy.layout.root / "campaign-v1.yaml").read_text() == old
    assert yaml.safe_load(copy.layout.config.read_text())["training"]["beta"] == 0.4
    # Changing it back costs nothing: both versions are on disk.
    assert made_anew(copy) == []
    assert (copy.layout.root / "campaign-v2.yaml").exists()


def test_what_is_evaluated_may_change_without_a_model(copy: Campaign) -> None:
    anew = made_anew(copy, "--set", "evaluation.slices=[topic]")
    # No prompt has a topic: the numbers are the same ones, and the gate has decided on them.
    assert anew == [(1, "evaluation"), (2, "evaluation")]


QUESTIONS = [
    {
        "question": f"the {thing} was",
        "choices": {"text": ["good .", "bad ."], "label": ["A", "B"]},
        "answerKey": "A",
    }
    for thing in ("plot", "end")
]


def json_line(row: dict[str, object]) -> str:
    return json.dumps(row) + "\n"


def test_a_task_whose_data_are_not_there_makes_no_campaign(tmp_path: Path) -> None:
    campaign = Campaign.create(tmp_path)
    (tmp_path / "empty").mkdir()
    task = "{harness: ifeval, data: empty}"
    refused = campaign.run("--set", f"evaluation.suites.task={task}")
    assert refused.returncode == 2
    assert "evaluation.suites.task.data" in refused.stderr and "Traceback" not in refused.stderr
    assert not campaign.layout.root.exists()


def test_a_suite_is_answered_by_every_policy_and_never_trained_on(copy: Campaign) -> None:
    suite = copy.folder / "suite.jsonl"
    suite.write_text('{"prompt": "the end was"}\n{"prompt": "i said that"}\n', encoding="utf-8")
    sets = ("--set", "evaluation.suites.short.prompts=suite.jsonl")
    sets += ("--set", "evaluation.suites.short.judge.function=small_judge:score")
    (copy.folder / "arc").mkdir()
    (copy.folder / "arc" / "test.jsonl").write_text("".join(map(json_line, QUESTIONS)))
    sets += ("--set", "evaluation.suites.arc={harness: arc_easy, data: arc}")
    anew = made_anew(copy, *sets)
    answered = [f"suite_{name}" for name in ("short", "short_scores", "arc", "arc_scores")]
    assert [step for number, step in anew if number == 0] == answered
    for number in (1, 2):
        steps = [step for found, step in anew if found == number]
        assert steps == ["audit", *answered, "evaluation", "gate"]
        told = json.loads(copy.artifact(number, "gate").path("metrics.json").read_text())
        found = told["suites"]["short"]
        assert found["prompts"] == 2 and found["score"] is not None
        assert found["change"] == pytest.approx(found["score"] - found["before"])
        assert (told["suites"]["arc"]["answers"], told["suites"]["arc"]["compared"]) == (2, 2)
    preferred = pq.read_table(copy.artifact(1, "preferences").path("preferences.parquet"))
    drawn = pq.read_table(copy.artifact(1, "prompts").path("prompts.parquet")).to_pylist()
    trained_on = next(r for r in drawn if r["prompt_id"] == preferred["prompt_id"][0].as_py())
    with suite.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"prompt": trained_on["prompt"]}) + "\n")
    stopped = copy.run(*sets)
    assert stopped.returncode != 0
    assert "contaminated" in stopped.stderr and "Traceback" not in stopped.stderr


def test_a_loss_that_is_not_finite_stops_the_round_and_keeps_the_promoted_policy(
    copy: Campaign,
) -> None:
    policies = {n: policy_id(copy.artifact(n, "training").path("policy")) for n in (1, 2)}
    done = copy.run("--set", "training.learning_rate=1e30", "--set", "training.pairs_per_step=2")
    assert done.returncode == 1
    assert "of optimiser step 2 is not finite (learning rate 1e+30; pairs" in done.stderr
    assert "Lower training.learning_rate" in done.stderr and "Traceback" not in done.stderr
    # Round 1 starts from the base, which stays what it was and stays promoted.
    promoted = read_current(copy.layout).promoted
    assert promoted is not None and promoted.round == 0
    assert policy_id(copy.layout.root / promoted.path) == promoted.policy
    assert made_anew(copy) == []
    found = {n: policy_id(copy.artifact(n, "training").path("policy")) for n in (1, 2)}
    assert found == policies


def test_a_judge_that_loses_keeps_the_base_and_round_two_starts_from_it(copy: Campaign) -> None:
    """In training longer answers win, on held-out prompts shorter ones: the candidate must lose."""
    fickle = JUDGE.replace(
        "-float(c.tokens)", "float(c.tokens) * (1 if c.prompt.split == 'train' else -1)"
    )
    (copy.folder / "small_judge.py").write_text(fickle, encoding="utf-8")
    moved_far = ("--set", "training.learning_rate=5e-3", "--set", "pairs.truncated=keep")
    anew = made_anew(copy, *moved_far)
    # A judge of another source judges again, also the base's answers; nothing is sampled for it.
    judged_on = [step for step in STEPS if step not in ("prompts", "completions")]
    assert [step for number, step in anew if number == 0] == ["answer_scores"]
    assert [step for number, step in anew if number == 1] == judged_on
    base = copy.artifact(0, "base").entry.facts["policy"]
    first, second = pd.read_parquet(copy.layout.metrics).to_dict("records")
    assert first["win_rate_gate"] < 0.5 and not first["promoted"]
    assert first["policy"] != second["previous_policy"] == base
    assert read_current(copy.layout).promoted.round == (2 if second["promoted"] else 0)
    # Its weights are of no use any more, and nothing needs them again.
    last = (*moved_far, "--set", "keep_policies.last=1")
    assert made_anew(copy, *last) == [(1, "prune")]
    assert [copy.artifact(n, "training").path("policy").exists() for n in (1, 2)] == [False, True]
    assert made_anew(copy, *last) == []


def test_prompts_that_all_exceed_the_context_are_told_with_what_to_do(copy: Campaign) -> None:
    config = ("sampling.max_tokens=61", "sampling.max_model_len=62")
    done = copy.run(*(word for setting in config for word in ("--set", setting)))
    assert done.returncode == 2, done.stderr + done.stdout
    assert "none of the 48 prompts fits into the model's context beside" in done.stderr
    assert "Lower sampling.max_tokens" in done.stderr and "Traceback" not in done.stderr


def test_chat_prompts_need_a_chat_template(finished: Campaign, tmp_path: Path) -> None:
    campaign = Campaign.create(tmp_path)
    rows = [{"messages": [{"role": "user", "content": f"question {n}"}]} for n in range(400)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "prompts.jsonl").write_text(lines, encoding="utf-8")
    done = campaign.run("--set", "sft.steps=1")
    assert done.returncode == 2, done.stderr
    assert "has chat messages, but the policy's tokenizer has no chat template" in done.stderr
    assert "Give plain `prompt` text, or a policy with a chat template." in done.stderr
    assert "Traceback" not in done.stderr
