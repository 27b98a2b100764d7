"""A question of the gate to a person: is a policy promoted that did not pass?

The question stands in waiting.json while nobody has answered, and holds no process. Answers come
from `ratchet decide` or from the form in Prefect's pages, at any time and without the campaign's
lock, into decisions.jsonl. The round that goes on takes its answer over into the ledger.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from dpo_core import json_lines
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, now
from dpo_core.campaign.waiting import Waiting, clear_waiting, read_waiting, write_waiting
from dpo_core.errors import ArtifactCorrupted, WaitingForPeople
from dpo_core.gate.decision import Decision, PersonsDecision
from dpo_core.hashing import content_id

_REMEDY = "Restore the file from a backup, or remove that line, and the question is asked again."


def question_id(number: int, evaluation: str) -> str:
    """What identifies a question: the round, and the hash of the numbers that it is about."""
    return content_id("question", number, evaluation)


def ask_question(layout: Layout, number: int, question: str, decision: Decision) -> WaitingForPeople:
    """Write down that the campaign waits for an answer; the error that ends the run."""
    command = shlex.join(["ratchet", "decide", str(layout.root)])
    sentence = (
        f"round {number} waits for a yes or no: {decision.sentence}; look at {layout.report} and "
        f"type `{command} --promote` or `{command} --keep`"
    )
    waiting = Waiting(
        round=number,
        dataset="",
        url="",
        needed=1,
        missing=1,
        asked_at=now(),
        deadline=None,
        sentence=sentence,
        question=question,
    )
    write_waiting(layout, waiting)
    return WaitingForPeople(sentence, "Then type the same `ratchet run` again.")


def pending_question(layout: Layout) -> Waiting | None:
    """The question that the campaign waits with; None where it waits for none."""
    waiting = read_waiting(layout)
    return waiting if waiting is not None and waiting.question is not None else None


def find_answer(layout: Layout, question: str, finished: Sequence[Entry]) -> PersonsDecision | None:
    """The last answer; `finished`: gates of the round that have been decided, which keep theirs."""
    given = [answer for about, answer in _given(layout) if about == question]
    taken = [
        PersonsDecision(**entry.facts["answer"])
        for entry in finished
        if entry.facts.get("question") == question and entry.facts.get("answer")
    ]
    return next(reversed([*taken, *given]), None)


def give_answer(
    layout: Layout, question: str, *, promote: bool, reason: str, by: str
) -> PersonsDecision:
    """Keep an answer, and let the campaign go on."""
    answer = PersonsDecision(promote, reason, by, now())
    json_lines.append(layout.decisions, [{"question": question, **asdict(answer)}])
    clear_waiting(layout)
    return answer


def _given(layout: Layout) -> Iterator[tuple[str, PersonsDecision]]:
    for number, found in json_lines.read(layout.decisions, _REMEDY, torn_before=True):
        try:
            yield found.pop("question"), PersonsDecision(**found)
        except (KeyError, TypeError):
            raise ArtifactCorrupted(
                f"{layout.decisions} line {number} is no decision", _REMEDY
            ) from None
