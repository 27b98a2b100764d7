"""What no judge may do, by kind of judge: it abstains with a reason, and nothing else changes.

Every kind judges the same pairs once as it should, and once with one of its answers spoilt, or with
a number of answers that is not that of its items: then nobody knows which is whose.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from loopback import Loopback, completion, verdict

from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.errors import EndpointFailed
from dpo_core.records import Completion, Judgement, Pair, Prompt, Score, pair_id, score_row
from dpo_core.schemas import SCORES
from dpo_core.tables import write_rows
from flows.evaluation.judging import judge_pairs
from flows.evaluation.suites import _read_scores as suite_scores
from flows.session import Session
from labeling.judges.config import (
    AnyJudgeConfig,
    CommitteeJudge,
    Judge,
    LlmJudge,
    RewardModelJudge,
    RuleJudge,
)
from labeling.judges.make import pairwise_judge, pointwise_judge
from labeling.judges.models import Models
from labeling.judges.protocol import score_all
from labeling.judges.questions import Question, Reply

PROMPT = Prompt("p", text="Which one?")
BAD, ITEMS = 2, 5
TIMEOUT_S = 0.25


def completion_of(name: str, number: int) -> Completion:
    text = f"this is {'right' if name == 'a' else 'not'} {number}"
    return Completion(f"{name}{number}", PROMPT, text, "stop", len(text), number)


PAIRS = [
    Pair(pair_id(f"a{n}", f"b{n}"), completion_of("a", n), completion_of("b", n))
    for n in range(ITEMS)
]


@dataclass
class Place:
    """What judges need. `spoil` makes something else of a whole list of answers of a model."""

    folder: Path
    rule: Callable[[str], str]
    server: Loopback
    spoil: Callable[[list[Any]], Any] = lambda answers: answers

    @property
    def models(self) -> Models:
        files = self.folder / "replies.sqlite", self.folder / "spent.jsonl"
        return Models(self._rate, self._ask, *files, lambda *_: None)

    def _rate(self, judge: RewardModelJudge, items: Sequence[Completion]) -> Any:
        return self.spoil([Score(float("right" in c.text)) for c in items])

    def _ask(self, judge: LlmJudge, questions: Sequence[Question]) -> Any:
        return self.spoil([Reply(verdict(q.text)) for q in questions])

    def judgements(self, config: AnyJudgeConfig) -> dict[str, list[Judgement]]:
        """source → what it says of PAIRS; pointwise judges score all a, then all b."""
        scored: dict[str, dict[str, Score]] = {}
        for member in getattr(config, "members", [config]):
            judge = pointwise_judge(member, self.models)
            for side in ("a", "b") if judge is not None else ():
                items = [getattr(pair, side) for pair in PAIRS]
                found = {c.completion_id: s for c, s in score_all(judge, items)}  # type: ignore[arg-type]
                scored.setdefault(member.source, {}).update(found)
        session = cast(Session, SimpleNamespace(judges=SimpleNamespace(models=self.models)))
        return {source: list(said) for source, said in judge_pairs(session, config, PAIRS, scored)}


@pytest.fixture
def place(tmp_path: Path, rule: Callable[[str], str]) -> Iterator[Place]:
    with Loopback() as server:
        yield Place(tmp_path, rule, server)


# ── the kinds of judges, each with a fault of its answer to item BAD, or of their number ─────────

Fault = Any
One = dict[str, Fault]

PYTHON: One = {  # what a function may give for a score or a verdict
    "NaN": "float('nan')",
    "inf": "float('inf')",
    "None": "None",
    "numpy NaN": "__import__('numpy').float32('nan')",
    "a huge number": "10**400",
    "a mapping": "{}",
    "a list": "[1]",
    "a tuple of three": "(1, 2, 3)",
    "an object": "object()",
    "an array": "__import__('numpy').zeros(3)",
    "half a character": "'\\ud800'",
    "text": "'A is better'",
    "a Score of text": "Score('good')",
    "a Score of NaN": "Score(float('nan'))",
    "measures of text": "Score(1.0, '', {'right': 'often'})",
    "a Judgement of text": "Judgement('first')",
    "a Judgement of a number": "Judgement(1)",
    "what cannot be shown": "type('X', (), {'__repr__': lambda self: 1 / 0})()",
}
COUNTS: One = {
    "one too few": "answers[:-1]",
    "one too many": "answers + answers[:1]",
    "none": "[]",
    "nothing": "None",
    "a number": "5",
    "text as long": "'a' * len(answers)",
    "a mapping as long": "dict(enumerate(answers))",
}
BODIES: One = {
    name: lambda text=text: (200, completion(text))
    for name, text in {"NaN": "NaN", "inf": "inf", "text": "I like both", "empty": ""}.items()
} | {
    name: lambda body=body: (200, body)
    for name, body in {
        "None": "null",
        "no choices": '{"choices": []}',
        "no content": '{"choices": [{"message": {"content": null}}]}',
        "no body": "",
        "a page": "<html>Bad gateway</html>",
        "too deep": "[" * 100_000,
        "endless tokens": completion("?").replace(": 1}", ": Infinity}"),
        "half a character": '{"choices": [{"message": {"content": "\\ud800"}}]}',
    }.items()
}
BODIES["late"] = lambda: (time.sleep(8 * TIMEOUT_S), (200, completion("A")))[1]


FEW_BODIES = {name: BODIES[name] for name in ("NaN", "inf", "None", "late")}


def rule_of(place: Place, gives: str, spoilt: str) -> RuleJudge:
    sound = (
        "['a' if 'right' in p.a.text else 'b' for p in items]"
        if gives == "verdict"
        else "[float('right' in c.text) for c in items]"
    )
    path = place.rule(
        "from dpo_core.records import Judgement, Score\n"
        f"def score(items):\n    answers = {sound}\n{spoilt}"
    )
    return RuleJudge.model_validate({"function": path, "gives": gives, "id": "rule"})


def spoilt_rule(place: Place, gives: str, fault: Fault, whole: bool) -> RuleJudge:
    # A rule that scores sees the a of all pairs first: their second batch is sound.
    once = "'right' in items[0].text" if gives == "score" else "True"
    change = f"return {fault}" if whole else f"answers[{BAD}] = {fault}"
    return rule_of(place, gives, f"    if {once}:\n        {change}\n    return answers\n")


def sound_rule(place: Place, gives: str) -> RuleJudge:
    return rule_of(place, gives, "    return answers\n")


def model(kind: str, **options: Any) -> Judge:
    if kind == "reward_model":
        return RewardModelJudge.model_validate({"kind": kind, "model": "m", "id": "model"})
    given = {"kind": "llm", "model": "m", "id": "model", "retries": 0, "concurrency": 1}
    given |= {"api_key_env": None} if "endpoint" in options else {}
    return LlmJudge.model_validate({**given, **options})


def spoil_model(place: Place, fault: Fault, whole: bool) -> None:
    if whole:
        place.spoil = lambda answers: eval(fault, {"answers": answers})
    else:
        place.spoil = lambda answers: [*answers[:BAD], fault, *answers[BAD + 1 :]]


RATINGS: One = {
    "NaN": Score(float("nan")),
    "inf": Score(float("inf")),
    "−inf": Score(float("-inf")),
    "None": None,
    "a bare number": 0.5,
    "text": "good",
}
REPLIES: One = {
    "NaN": Reply("NaN"),
    "None": None,
    "a reply of nothing": Reply(cast(str, None)),
    "a reply of a number": Reply(cast(str, 1.5)),
    "text": Reply("I like both"),
    "empty": Reply(""),
    "bare text": "A",
}


def _rule(gives: str) -> Callable[[Place, Fault, bool], AnyJudgeConfig]:
    return lambda place, fault, whole: (
        sound_rule(place, gives) if fault is SOUND else spoilt_rule(place, gives, fault, whole)
    )


def _here(kind: str, **options: Any) -> Callable[[Place, Fault, bool], AnyJudgeConfig]:
    def make(place: Place, fault: Fault, whole: bool) -> AnyJudgeConfig:
        if fault is not SOUND:
            spoil_model(place, fault, whole)
        return model(kind, **options)

    return make


def _endpoint(**options: Any) -> Callable[[Place, Fault, bool], AnyJudgeConfig]:
    def make(place: Place, fault: Fault, whole: bool) -> AnyJudgeConfig:
        if fault is not SOUND:
            place.server.script = [*[None] * BAD, fault]
        # A sound answer of a busy machine is not late.
        timeout_s = 4 * TIMEOUT_S if fault is BODIES["late"] else 60.0
        return model("llm", endpoint=place.server.url, timeout_s=timeout_s, **options)

    return make


def _committee(place: Place, fault: Fault, whole: bool) -> AnyJudgeConfig:
    """A sound rule beside a spoilt one."""
    spoilt = _rule("score")(place, fault, whole)
    other = sound_rule(place, "verdict").model_copy(update={"id": "other"})
    return CommitteeJudge(kind="committee", members=[spoilt, other])


SOUND = object()
KINDS: dict[str, tuple[Callable[[Place, Fault, bool], AnyJudgeConfig], One, One]] = {
    "rule, scores": (_rule("score"), PYTHON, COUNTS),
    "rule, verdicts": (_rule("verdict"), PYTHON, COUNTS),
    "reward model": (_here("reward_model"), RATINGS, COUNTS),
    "local LLM, verdicts": (_here("llm"), REPLIES, COUNTS),
    "local LLM, scores": (_here("llm", gives="score"), REPLIES, COUNTS),
    "endpoint LLM, verdicts": (_endpoint(), BODIES, {}),
    "endpoint LLM, scores": (_endpoint(gives="score"), FEW_BODIES, {}),
    "committee": (_committee, PYTHON, COUNTS),
}
CASES = [
    pytest.param(kind, fault, whole, id=f"{kind}: {name}")
    for kind, (_, one, counts) in KINDS.items()
    for faults, whole in ((one, False), (counts, True))
    for name, fault in faults.items()
]


@pytest.mark.parametrize(("kind", "fault", "whole"), CASES)
def test_it_abstains_with_a_reason_and_nothing_else_changes(
    place: Place, kind: str, fault: Fault, whole: bool
) -> None:
    make = KINDS[kind][0]
    sound = place.judgements(make(place, SOUND, False))
    assert all(j.verdict == "a" for said in sound.values() for j in said)
    (place.folder / "replies.sqlite").unlink(missing_ok=True)
    spoilt = place.judgements(make(place, fault, whole))
    assert spoilt.keys() == sound.keys()
    for source, said in spoilt.items():
        for number, (before, now) in enumerate(zip(sound[source], said, strict=True)):
            if source != "other" and (whole or number == BAD):
                assert now.verdict is None and now.reason, (number, now)
                now.reason.encode()  # a file can hold it
            else:
                assert (now.verdict, now.confidence) == (before.verdict, before.confidence)


@pytest.mark.parametrize("fault", PYTHON.values(), ids=PYTHON)
def test_a_suite_scores_the_others(place: Place, fault: str) -> None:
    """Suites are scored by rules: what one abstains on is no part of the mean."""
    judge = pointwise_judge(spoilt_rule(place, "score", fault, False), place.models)
    assert judge is not None
    answers = [pair.a for pair in PAIRS]
    rows = (score_row(c.completion_id, judge.source, s) for c, s in score_all(judge, answers))
    write_rows(place.folder / "scores.parquet", rows, SCORES)
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {
        "completion_id": [c.completion_id for c in answers],
        "prompt_id": [f"p{n}" for n in range(ITEMS)],
        "sample_index": [0] * ITEMS,
    }
    pq.write_table(pa.table(table), place.folder / "answers.parquet")
    files = {"": "scores.parquet", "_answers": "answers.parquet"}
    declared = {
        f"candidate_suite_s{k}": Input(name, place.folder / name) for k, name in files.items()
    }
    found = suite_scores(Inputs("evaluation", declared), "candidate", "s")
    assert found == {(f"p{n}", 0): 1.0 for n in range(ITEMS) if n != BAD}


def test_log_probs_that_are_none_leave_the_reply(place: Place) -> None:
    for logprob in ("NaN", "Infinity", "-Infinity", "1e300", "null", '"high"'):
        body = completion("A", logprobs=True).replace("-0.1053605", logprob)
        place.server.script = [*[None] * BAD, lambda body=body: (200, body)]
        [said] = place.judgements(model("llm", endpoint=place.server.url)).values()
        assert [j.verdict for j in said] == ["a"] * ITEMS
        assert said[BAD].confidence is None or 0 <= said[BAD].confidence <= 1
        (place.folder / "replies.sqlite").unlink()


def test_a_server_that_answers_nobody_is_no_late_answer(place: Place) -> None:
    place.server.delay_s = 4 * TIMEOUT_S
    slow = model("llm", endpoint=place.server.url, timeout_s=TIMEOUT_S, concurrency=8)
    judge = pairwise_judge(slow, place.models)
    assert judge is not None
    pairs = [
        Pair(pair_id(f"a{n}", f"b{n}"), completion_of("a", n), completion_of("b", n))
        for n in range(8)
    ]
    with pytest.raises(EndpointFailed, match="did not answer"):
        judge.judge(pairs)


def test_what_spends_less_than_nothing_is_estimated(place: Place) -> None:
    body = completion("A").replace('"completion_tokens": 1', '"completion_tokens": -1000000')
    place.server.script = [lambda: (200, body)]
    [said] = place.judgements(model("llm", endpoint=place.server.url)).values()
    assert said[0].cost.tokens_out > 0
