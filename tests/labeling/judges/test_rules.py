"""Judges written by users: what they may answer, and what becomes of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dpo_core.errors import ConfigError, JudgeError
from dpo_core.records import Completion, Judgement, Pair, Prompt, Score, order_pair, pair_id
from labeling.judges.both_orders import judge_both_orders
from labeling.judges.config import RuleJudge
from labeling.judges.make import hash_user_code, pairwise_judge, pointwise_judge
from labeling.judges.models import Models
from labeling.judges.protocol import BATCH, score_all, verdict_from_scores
from labeling.judges.rules import RuleScores, RuleVerdicts

Rule = Callable[[str], str]
PROMPT = Prompt("p", text="Say a number.")


def completion(name: str, text: str = "") -> Completion:
    return Completion(name, PROMPT, text or name, "stop", tokens=3)


def pair(first: str, second: str) -> Pair:
    a, b = order_pair(first, second)
    return Pair(pair_id(first, second), completion(a), completion(b))


class Scripted:
    """A pairwise judge that is told what to say."""

    source = "scripted"

    def __init__(self, say: Callable[[Pair], str | None]) -> None:
        self.say = say
        self.seen: list[tuple[str, str]] = []

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        self.seen += [(p.a.text, p.b.text) for p in pairs]
        return [Judgement(self.say(p), raw=self.say(p)) for p in pairs]  # type: ignore[arg-type]


def prefers(word: str) -> Callable[[Pair], str]:
    return lambda pair: "a" if word in pair.a.text else "b"


# ── scores ───────────────────────────────────────────────────────────────────────────────────────


def scored(rule: Rule, answer: str, count: int = 1) -> list[Score]:
    source = "from dpo_core.records import Score\ndef score(completions):\n"
    judge = RuleScores(rule(f"{source}    return [{answer} for c in completions]\n"))
    return judge.score([completion(str(n)) for n in range(count)])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("0.5", Score(0.5)),
        ("-3", Score(-3.0)),
        ("True", Score(1.0)),
        ("(2, 'good')", Score(2.0, "good")),
        ("__import__('numpy').float32(0.5)", Score(0.5)),
        ("__import__('numpy').int64(4)", Score(4.0)),
        ("__import__('fractions').Fraction(1, 4)", Score(0.25)),
        ("None", Score(None, "the judge abstained")),
        ("(None, 'no number in it')", Score(None, "no number in it")),
        ("Score(1, 'x', {'right': (1, 2)})", Score(1.0, "x", {"right": (1, 2)})),
    ],
)
def test_what_a_scoring_function_may_answer(rule: Rule, answer: str, expected: Score) -> None:
    (found,) = scored(rule, answer)
    assert found == expected
    assert type(found.value) in (float, type(None))


def test_raising_judge_is_named_with_its_own_file_and_line(rule: Rule) -> None:
    path = rule(
        "import json\n"
        "def parse(text):\n"
        "    return json.loads(text)['n']\n"  # raises deep inside the standard library
        "def score(completions):\n"
        "    return [parse(c.text) for c in completions]\n"
    )
    with pytest.raises(JudgeError) as caught:
        RuleScores(path).score([completion("x", text="not json")])
    module = path.partition(":")[0]
    assert f"{module}.py:3)" in caught.value.message
    assert "JSONDecodeError" in caught.value.message
    assert "ratchet run" in caught.value.remedy


def test_a_generator_that_raises_late_is_named_too(rule: Rule) -> None:
    path = rule("def score(completions):\n    for c in completions:\n        yield 1 / 0\n")
    with pytest.raises(JudgeError, match=r"ZeroDivisionError: .*\.py:3\)"):
        RuleScores(path).score([completion("x")])


def test_scores_come_in_order_over_batches(rule: Rule) -> None:
    path = rule(
        "calls = []\n"
        "def score(completions):\n"
        f"    assert 0 < len(completions) <= {BATCH}\n"
        "    return [int(c.text) for c in completions]\n"
    )
    completions = [completion(str(number)) for number in range(2 * BATCH + 1)]
    found = list(score_all(RuleScores(path), iter(completions)))
    assert [c.text for c, _ in found] == [c.text for c in completions]
    assert [s.value for _, s in found] == [float(number) for number in range(2 * BATCH + 1)]


def test_missing_function_is_a_config_error(rule: Rule) -> None:
    path = rule("def scores(completions):\n    return []\n")
    with pytest.raises(ConfigError, match="has no 'score'") as caught:
        RuleScores(path)
    assert "scores" in caught.value.remedy


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("'a'", Judgement("a")),
        ("'b'", Judgement("b")),
        ("('tie', 'same')", Judgement("tie", "same")),
        ("'both_bad'", Judgement("both_bad")),
        ("None", Judgement(None, "the judge abstained")),
        ("'A is better'", Judgement(None, "unreadable verdict 'A is better'", raw="A is better")),
        ("Judgement('a', 'r', 0.9, 'raw')", Judgement("a", "r", 0.9, "raw")),
        ("Judgement('A')", Judgement(None, "unreadable verdict 'A'", raw="A")),
        ("Judgement(None, 'hm')", Judgement(None, "hm")),
    ],
)
def test_what_a_verdict_function_may_answer(rule: Rule, answer: str, expected: Judgement) -> None:
    source = "from dpo_core.records import Judgement\ndef score(pairs):\n"
    judge = RuleVerdicts(rule(f"{source}    return [{answer} for _ in pairs]\n"))
    assert judge.judge([pair("x", "y")]) == [expected]


def test_the_verdict_really_decides() -> None:
    pairs = [pair(f"good {n}", f"bad {n}") for n in range(50)]
    good_first = [p.a.text.startswith("good") for p in pairs]
    assert 10 < sum(good_first) < 40  # the position gives nothing away
    for word, expected in (
        ("good", ["a" if good else "b" for good in good_first]),
        ("bad", ["b" if good else "a" for good in good_first]),
    ):
        judge = Scripted(prefers(word))
        assert [j.verdict for j in judge_both_orders(judge, pairs)] == expected


def test_each_pair_is_read_in_both_orders() -> None:
    pairs = [pair(f"x{n}", f"y{n}") for n in range(3)]
    judge = Scripted(prefers("x"))
    list(judge_both_orders(judge, pairs))
    forward = [(p.a.text, p.b.text) for p in pairs]
    assert judge.seen == forward + [(b, a) for a, b in forward]


@pytest.mark.parametrize("always", ["a", "b"])
def test_a_judge_that_follows_the_position_ties_everything(always: str) -> None:
    found = list(judge_both_orders(Scripted(lambda _: always), [pair("x", "y"), pair("u", "v")]))
    assert [j.verdict for j in found] == ["tie", "tie"]
    assert found[0].reason == "the verdict follows the position of the answers"


@pytest.mark.parametrize("both", ["tie", "both_bad"])
def test_verdicts_without_a_side_stay(both: str) -> None:
    (found,) = judge_both_orders(Scripted(lambda _: both), [pair("x", "y")])
    assert found.verdict == both


def test_an_abstention_in_one_order_abstains() -> None:
    for silent in ("x", "y"):
        judge = Scripted(lambda p, silent=silent: None if p.a.text == silent else "a")  # type: ignore[misc]
        (found,) = judge_both_orders(judge, [pair("x", "y")])
        assert found.verdict is None


def test_verdicts_from_scores() -> None:
    def verdict(a: float | None, b: float | None) -> Judgement:
        return verdict_from_scores(Score(a, "unparsable"), Score(b, "unparsable"))

    assert verdict(1, 0.5) == Judgement("a", "scores 1 and 0.5")
    assert verdict(-1, 0.5) == Judgement("b", "scores -1 and 0.5")
    assert verdict(0.5, 0.5) == Judgement("tie", "both score 0.5")
    assert verdict(None, 1) == Judgement(None, "no score: unparsable", caused_by="a")
    assert verdict(1, None) == Judgement(None, "no score: unparsable", caused_by="b")
    assert verdict(None, None) == Judgement(None, "no score: unparsable"), "neither's alone"


# ── which judge, and what it depends on ──────────────────────────────────────────────────────────


def _no_model(*_: object) -> list[object]:
    raise AssertionError("a rule needs no model")


def test_the_config_decides_the_kind_of_judge(rule: Rule, tmp_path: Path) -> None:
    path = rule("def score(items):\n    return ['a' for _ in items]\n")
    scores, verdicts = RuleJudge(function=path), RuleJudge(function=path, gives="verdict")
    models = Models(_no_model, _no_model, tmp_path, tmp_path, lambda *_: None)
    assert pointwise_judge(scores, models) and not pairwise_judge(scores, models)
    assert pairwise_judge(verdicts, models) and not pointwise_judge(verdicts, models)


def test_the_hash_of_a_judge_changes_with_its_source(rule: Rule) -> None:
    sources = [
        "def score(c):\n    return [1 for _ in c]\n",
        "def score(c):\n    return [2 for _ in c]\n",
    ]
    (first,), (second,) = (
        hash_user_code(RuleJudge(function=rule(source))).values() for source in sources
    )
    assert first != second
