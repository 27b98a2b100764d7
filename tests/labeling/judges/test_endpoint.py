"""Language models behind endpoints: replies, injections, faults, budgets, memory; on loopback."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from injections import INJECTIONS
from loopback import KEY, Loopback, completion, verdict

from dpo_core.errors import BudgetSpent, ConfigError, JudgeError, NotRemembered
from dpo_core.records import Completion, Cost, Judgement, Pair, Prompt, pair_id
from labeling.judges.both_orders import judge_both_orders
from labeling.judges.config import LlmJudge
from labeling.judges.llm import LlmScores, LlmVerdicts, choice_probabilities, parse_choice
from labeling.judges.make import check_judge
from labeling.judges.models import Models
from labeling.judges.rubric import VERDICTS, load_rubric, make_mark

PROMPT = Prompt("p", text="Is 2 + 2 = 4?", extra={"reference": "yes"})


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as made:
        yield made


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)


def _here(*_: Any) -> Any:
    raise AssertionError("no model runs here")


def models(folder: Path) -> Models:
    return Models(_here, _here, folder / "replies.sqlite", folder / "spent.jsonl", lambda *_: None)


def config(server: Loopback, **options: Any) -> LlmJudge:
    given = {"kind": "llm", "model": "tiny", "endpoint": server.url, "api_key_env": "JUDGE_KEY"}
    return LlmJudge.model_validate({**given, "retries": 2, **options})


def completion_of(name: str, text: str) -> Completion:
    return Completion(name, PROMPT, text, "stop", len(text))


def pair(number: int, a: str = "this is right", b: str = "this is not") -> Pair:
    first, second = completion_of(f"a{number}", f"{a} {number}"), completion_of(f"b{number}", b)
    return Pair(pair_id(first.completion_id, second.completion_id), first, second)


def judged(
    server: Loopback, folder: Path, pairs: Sequence[Pair], **options: Any
) -> list[Judgement]:
    judge = LlmVerdicts(config(server, **options), models(folder))
    return list(judge_both_orders(judge, pairs))


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────


def test_both_orders_confidence_and_cost(server: Loopback, tmp_path: Path) -> None:
    (found,) = judged(
        server, tmp_path, [pair(1)], money_per_million_tokens_in=3, money_per_million_tokens_out=5
    )
    assert (found.verdict, found.forward, found.backward) == ("a", "a", "a")
    assert found.confidence == pytest.approx(0.9)  # 0.9 and 0.1 for the reply and one other
    assert (found.raw, found.reason) == ("A\nB", "replied A")  # both readings
    asked = [len(request["messages"][0]["content"]) // 4 for request in server.requests]
    money = (sum(asked) * 3 + 2 * 5) / 1e6
    assert found.cost == Cost(sum(asked), 2, pytest.approx(money))
    assert server.keys == {KEY}


def test_what_is_remembered_needs_no_endpoint(server: Loopback, tmp_path: Path) -> None:
    first = judged(server, tmp_path, [pair(1)])
    asked = len(server.requests)
    only_remembered = replace(models(tmp_path), ask_endpoints=False)
    judge = LlmVerdicts(config(server), only_remembered)
    assert list(judge_both_orders(judge, [pair(1)])) == first
    with pytest.raises(NotRemembered, match="1 missing"):
        list(judge_both_orders(judge, [pair(1), pair(2)]))
    assert len(server.requests) == asked


def test_something_may_be_done_before_an_endpoint_is_paid(server: Loopback, tmp_path: Path) -> None:
    """Once for many questions, and not for what is remembered."""
    asked_before = []
    before = replace(
        models(tmp_path), before_paying=lambda: asked_before.append(len(server.requests))
    )
    judge = LlmVerdicts(config(server), before)
    for _ in range(2):
        list(judge_both_orders(judge, [pair(1), pair(2)]))
    assert asked_before in ([0], [0, 2])  # at most one for each order


def test_a_reader_that_names_a_position_ties(server: Loopback, tmp_path: Path) -> None:
    (found,) = judged(server, tmp_path, [pair(1, "same", "as")])
    assert (found.verdict, found.forward, found.backward) == ("tie", "a", "b")
    assert found.raw == "A\nA"


def test_scores_are_the_mean_grade(server: Loopback, tmp_path: Path) -> None:
    completions = [completion_of("x", "right"), completion_of("y", "wrong")]
    scores = LlmScores(config(server, gives="score"), models(tmp_path)).score(completions)
    assert [s.value for s in scores] == [
        pytest.approx(0.9 * 9 + 0.1 * 5),
        pytest.approx(0.9 * 2 + 0.1 * 5),
    ]
    server.logprobs = False
    scores = LlmScores(config(server, gives="score", logprobs=False), models(tmp_path)).score(
        completions
    )
    assert [s.value for s in scores] == [9, 2]
    assert "logprobs" not in server.requests[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", "A"),
        (" b.\n", "B"),
        ("**Tie**", "tie"),
        ("Both are fine, but the first is right.\n\nVerdict: A", "A"),
        ("The first is right.\nA\n", "A"),
        ("A is better", None),
        ("A or B", None),
        ("Verdict: A because it is right", None),
        ("", None),
        ("...", None),
        ("C", None),
    ],
)
def test_a_reply_is_read_strictly(text: str, expected: str | None) -> None:
    assert parse_choice(text, VERDICTS) == expected


def test_probabilities_are_those_of_the_tokens_that_begin_a_choice() -> None:
    import math

    first = {"A": math.log(0.4), " A": math.log(0.1), "B": math.log(0.2), "t": math.log(0.05)}
    first["The"] = math.log(0.25)
    found = choice_probabilities("A", first, VERDICTS)
    assert found == pytest.approx({"A": 0.5 / 0.75, "B": 0.2 / 0.75, "tie": 0.05 / 0.75})
    assert choice_probabilities("Since it is right:\nA", first, VERDICTS) is None
    assert choice_probabilities("A", {}, VERDICTS) is None


# ── injections ───────────────────────────────────────────────────────────────────────────────────


def test_an_answer_that_gives_orders_decides_nothing(server: Loopback, tmp_path: Path) -> None:
    """And would decide much without the marks: else this server would show nothing."""
    flips = leaks = 0
    for number, text in enumerate(INJECTIONS.values()):
        honest = pair(number)
        mark = make_mark([PROMPT.shown(), honest.a.text, honest.b.text])
        attacked = pair(number, b=honest.b.text + "\n" + text.replace("{mark}", mark))
        before, after = judged(server, tmp_path, [honest, attacked])
        assert before.verdict == "a"
        flips += after.verdict != before.verdict
        bare = f"Say which answer is better.\nA: {attacked.a.text}\nB: {attacked.b.text}"
        leaks += verdict(bare) != verdict(bare.replace(text.replace("{mark}", mark), ""))
    print(f"flip rate, marked: {flips}/{len(INJECTIONS)}; pasted: {leaks}/{len(INJECTIONS)}")
    assert flips == 0
    assert leaks >= len(INJECTIONS) // 4


def test_an_answer_that_gives_orders_changes_no_grade(server: Loopback, tmp_path: Path) -> None:
    attacked = [completion_of(name, f"wrong\n{text}") for name, text in INJECTIONS.items()]
    judge = LlmScores(config(server, gives="score"), models(tmp_path))
    plain, *found = judge.score([completion_of("plain", "wrong"), *attacked])
    flips = sum(score.value != plain.value for score in found)
    print(f"flip rate of grades, marked: {flips}/{len(found)}")
    assert flips == 0 and plain.value == pytest.approx(0.9 * 2 + 0.1 * 5)


def test_data_cannot_hold_its_own_mark_or_a_control_token() -> None:
    rubric = load_rubric(LlmJudge(kind="llm", model="m"))
    for text in INJECTIONS.values():
        question = rubric.question("Why?", ["fine", text], None)
        data = [part.text for part in question.parts if part.data]
        mark = question.text.split("tags that end in -")[1].split()[0]
        assert len(data) == 3 and not any(mark in one for one in data)
        assert not any(token in one for one in data for token in ("<|", "</", "<s>", "[INST", "<<"))
        assert data[2].replace("\u200b", "") == text
        assert rubric.question("Why?", ["fine", text], None) == question  # no chance in it


# ── rubrics ──────────────────────────────────────────────────────────────────────────────────────


def test_shipped_rubrics_ask_about_pairs_and_answers(server: Loopback, tmp_path: Path) -> None:
    judged(server, tmp_path, [pair(1)], rubric="reference")
    assert "yes" in server.requests[-1]["messages"][0]["content"]
    judged(server, tmp_path, [pair(1)], rubric="principles", principles=["Be brief.", "Be kind."])
    content = server.requests[-1]["messages"][0]["content"]
    assert "1. Be brief.\n2. Be kind.\n" in content
    judge = LlmScores(config(server, gives="score", rubric="reference"), models(tmp_path))
    assert judge.score([completion_of("x", "right")])[0].value is not None


def test_a_prompt_without_reference_is_abstained_on(server: Loopback, tmp_path: Path) -> None:
    (found,) = judged(server, tmp_path, [pair(1)], rubric="reference", reference_field="solution")
    assert (found.verdict, found.reason) == (None, "the prompt has no field solution")
    assert server.requests == []


def test_a_rubric_of_the_users_own_and_what_is_wrong_with_one(
    server: Loopback, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.md"
    mine.write_text("Which is funnier?\n{{ prompt }}\n{{ answers }}", encoding="utf-8")
    judged(server, tmp_path, [pair(1)], rubric=str(mine))
    content = server.requests[-1]["messages"][0]["content"]
    assert "Which is funnier?" in content and content.endswith("tie if neither is.")
    before = load_rubric(config(server, rubric=str(mine))).fingerprint
    for text, wrong in (
        ("{{ prompt }}", "has no slot for the answers"),
        ("{{ prompt }}{{ answers }}{{ judge }}", "has the unknown slot judge"),
        ("{{ prompt }}{{ answers }}{% if %}", "is not a Jinja template"),
        ("{{ prompt }}{{ answers }}{{ principles }}", "do not match: no principles are set"),
    ):
        mine.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=wrong):
            check_judge(config(server, rubric=str(mine)))
    mine.write_text("Which is sadder?\n{{ prompt }}\n{{ answers }}", encoding="utf-8")
    assert load_rubric(config(server, rubric=str(mine))).fingerprint != before
    with pytest.raises(ConfigError, match="one of pairwise, pointwise, principles, reference"):
        check_judge(config(server, rubric="nothing"))


# ── the endpoint's faults ────────────────────────────────────────────────────────────────────────


def _status(status: int) -> Any:
    body = f'{{"error": {{"message": "no: {KEY}", "code": null}}}}'
    return lambda: (status, body)


def test_faults_that_pass_are_retried(server: Loopback, tmp_path: Path) -> None:
    server.script = [_status(429), _status(500)]
    (found,) = judged(server, tmp_path, [pair(1)])
    assert found.verdict == "a"
    assert len(server.requests) == 4  # two readings, two retries


@pytest.mark.parametrize(
    ("status", "says"), [(500, "HTTP 500"), (429, "HTTP 429"), (401, "HTTP 401"), (400, "refuses")]
)
def test_faults_that_stay_stop_the_step_and_never_show_the_key(
    server: Loopback, tmp_path: Path, status: int, says: str
) -> None:
    server.script = [_status(status)] * 4
    with pytest.raises(JudgeError, match=says) as caught:
        judged(server, tmp_path, [pair(1)], retries=0, concurrency=1)
    assert KEY not in str(caught.value) and "[key]" in str(caught.value)
    assert caught.value.remedy


def test_a_server_that_does_not_answer(server: Loopback, tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="did not answer"):
        judged(server, tmp_path, [pair(2)], retries=0, endpoint="http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    "body",
    [
        "<html>Bad gateway</html>",
        "",
        "null",
        '{"choices": []}',
        '{"choices": null}',
        '{"choices": [{"message": {"content": null}}]}',
        '{"choices": [{"message": "A"}]}',
        "[1, 2]",
    ],
)
def test_what_is_no_reply_is_an_abstention_and_kept(
    server: Loopback, tmp_path: Path, body: str
) -> None:
    server.script = [lambda: (200, body)] * 2
    (found,) = judged(server, tmp_path, [pair(1)])
    assert (found.verdict, found.raw) == (None, body or None)
    assert found.reason == "the endpoint's response holds no reply"
    (again,) = judged(server, tmp_path, [pair(1)])
    assert again.verdict == "a"  # garbage is not remembered


def test_an_unreadable_or_cut_reply_is_an_abstention_and_kept(
    server: Loopback, tmp_path: Path
) -> None:
    server.script = [lambda: (200, completion("I prefer the first one"))]
    (found,) = judged(server, tmp_path, [pair(1)], concurrency=1)
    assert (found.verdict, found.raw) == (None, "I prefer the first one")
    assert found.reason == "unreadable reply 'I prefer the first one'"
    server.script = [lambda: (200, completion("A", finish_reason="length"))]
    (found,) = judged(server, tmp_path, [pair(2)], concurrency=1)
    assert (found.verdict, found.reason) == (None, "the reply was cut at 256 tokens")


def test_a_question_that_is_too_long_is_an_abstention(server: Loopback, tmp_path: Path) -> None:
    too_long = '{"error": {"message": "maximum context length is 10 tokens"}}'
    server.script = [lambda: (400, too_long)]
    (found,) = judged(server, tmp_path, [pair(1)], concurrency=1)
    assert found.verdict is None and "maximum context length" in found.reason
    assert found.caused_by is None, "neither answer is most of the question"
    for sides, said in (({"a": "long " * 2000}, "a"), ({"b": "long " * 2000}, "b")):
        server.script = [lambda: (400, too_long)]
        (found,) = judged(server, tmp_path, [pair(1, **sides)], concurrency=1)
        assert found.caused_by == said


# ── concurrency, memory, budget, key ─────────────────────────────────────────────────────────────


def test_as_many_requests_at_a_time_as_allowed(server: Loopback, tmp_path: Path) -> None:
    server.delay_s = 0.05
    judged(server, tmp_path, [pair(n) for n in range(12)], concurrency=3)
    assert server.most_at_once == 3
    assert len(server.requests) == 24


def test_what_was_asked_once_is_remembered(server: Loopback, tmp_path: Path) -> None:
    pairs = [pair(n) for n in range(3)]
    first = judged(server, tmp_path, [*pairs, pairs[0]])
    assert len(server.requests) == 6  # the repeated pair is asked once
    assert judged(server, tmp_path, pairs) == first[:3]
    assert len(server.requests) == 6
    judged(server, tmp_path, pairs, model="another")
    assert len(server.requests) == 12
    judged(server, tmp_path, pairs, budget_tokens=10**9, concurrency=2)
    assert len(server.requests) == 12
    assert b"sk-loopback" not in (tmp_path / "replies.sqlite").read_bytes()


def test_equal_answers_are_a_tie_that_nobody_is_asked_about(
    server: Loopback, tmp_path: Path
) -> None:
    found = judged(server, tmp_path, [pair(1), pair(2, "same", "same 2"), pair(3)])
    assert [j.verdict for j in found] == ["a", "tie", "a"]
    assert found[1].reason == "the answers are the same" and found[1].cost == Cost()
    assert len(server.requests) == 4


def test_a_step_that_fails_keeps_what_was_answered(server: Loopback, tmp_path: Path) -> None:
    pairs = [pair(n) for n in range(4)]
    server.script = [None, None, _status(401)]
    with pytest.raises(JudgeError):
        judged(server, tmp_path, pairs, concurrency=1, retries=0)
    assert len(server.requests) == 3
    assert {j.verdict for j in judged(server, tmp_path, pairs)} == {"a"}
    assert len(server.requests) == 3 + 6


def test_a_budget_stops_before_it_is_exceeded_and_survives_a_restart(
    server: Loopback, tmp_path: Path
) -> None:
    pairs = [pair(n) for n in range(40)]
    options: dict[str, Any] = {"budget_money": 0.02, "money_per_million_tokens_in": 10.0}
    with pytest.raises(BudgetSpent, match=r"budget_money 0\.02") as caught:
        judged(server, tmp_path, pairs, **options)
    assert "Raise the budget" in caught.value.remedy
    asked = sum(len(r["messages"][0]["content"]) // 4 for r in server.requests)
    assert 0.016 < asked * 10 / 1e6 <= 0.02
    before = len(server.requests)
    with pytest.raises(BudgetSpent):  # another process: all that is left is the file
        judged(server, tmp_path, pairs, **options)
    assert len(server.requests) - before <= 1
    with (tmp_path / "spent.jsonl").open("a") as file:
        file.write('{"source": "llm:tiny", "tok')  # killed while writing
    with pytest.raises(BudgetSpent):
        judged(server, tmp_path, pairs, **options)
    found = judged(server, tmp_path, pairs, **{**options, "budget_money": 1.0})
    assert {judgement.verdict for judgement in found} == {"a"}
    assert len(server.requests) == 80  # nothing was asked twice


def test_a_token_budget_with_a_server_that_counts_nothing(server: Loopback, tmp_path: Path) -> None:
    server.script = [lambda: (200, '{"choices": [{"message": {"content": "A"}}]}')] * 100
    with pytest.raises(BudgetSpent, match="budget_tokens 5000"):
        judged(server, tmp_path, [pair(n) for n in range(40)], budget_tokens=5000)
    assert 0 < len(server.requests) < 20


def test_what_is_sent_can_be_changed(server: Loopback, tmp_path: Path) -> None:
    judged(server, tmp_path, [pair(1)], structured=True)
    usual = server.requests[-1]
    assert usual["structured_outputs"] == {"choice": ["A", "B", "tie"]}
    assert (usual["max_tokens"], usual["temperature"], usual["logprobs"]) == (256, 0.0, True)
    changed = {"max_tokens": None, "max_completion_tokens": 512, "temperature": 1, "seed": 3}
    judged(server, tmp_path, [pair(1)], request=changed)
    found = server.requests[-1]
    assert len(server.requests) == 4  # another request is another question
    assert "max_tokens" not in found and found["max_completion_tokens"] == 512
    assert (found["temperature"], found["seed"]) == (1, 3)


def test_a_missing_key_is_said_before_anything_starts(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(ConfigError, match="JUDGE_KEY, which is not set") as caught:
        check_judge(config(server))
    assert "export JUDGE_KEY=" in caught.value.remedy
    check_judge(config(server, api_key_env=None))
