"""The gate asks a person whether to promote a policy that did not pass.

The question waits in waiting.json and holds no process. `ratchet decide` and the form in Prefect's
pages append answers to decisions.jsonl, without the campaign's lock; the resumed round records its
answer in the ledger.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from dpo_core import json_lines
from dpo_core.campaign.gate_record import GateFacts, PersonsDecision
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, now
from dpo_core.campaign.waiting import Waiting, clear_waiting, read_waiting, write_waiting
from dpo_core.errors import ArtifactCorrupted, WaitingForPeople
from dpo_core.gate.decision import Decision
from dpo_core.hashing import content_id

_REMEDY = "Restore the file from a backup, or remove that line to be asked again."


def question_id(number: int, evaluation: str) -> str:
    """Id of a question: of the round and the hash of its evaluation."""
    return content_id("question", number, evaluation)


def ask_question(
    layout: Layout, number: int, question: str, decision: Decision
) -> WaitingForPeople:
    """Record that the campaign waits for a decision; returns the error that ends the run."""
    command = shlex.join(["ratchet", "decide", str(layout.root)])
    sentence = (
        f"round {number} {decision.sentence}; see {layout.report}, then "
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
    """The question that waits for an answer, if there is one."""
    waiting = read_waiting(layout)
    return waiting if waiting is not None and waiting.question is not None else None


def find_answer(layout: Layout, question: str, finished: Sequence[Entry]) -> PersonsDecision | None:
    """The last answer to the question, from decisions.jsonl or the round's `finished` gates."""
    given = [answer for about, answer in _read_decisions(layout) if about == question]
    facts = [GateFacts.read(entry.facts) for entry in finished]
    recorded = [f.answer for f in facts if f.question == question and f.answer is not None]
    return next(reversed([*recorded, *given]), None)


def give_answer(
    layout: Layout, question: str, *, promote: bool, reason: str, by: str
) -> PersonsDecision:
    """Record an answer, so that the campaign can resume."""
    answer = PersonsDecision(promote, reason, by, now())
    json_lines.append(layout.decisions, [{"question": question, **asdict(answer)}])
    clear_waiting(layout)
    return answer


def _read_decisions(layout: Layout) -> Iterator[tuple[str, PersonsDecision]]:
    """(question, answer) of each line."""
    for number, row in json_lines.read(layout.decisions, _REMEDY, torn_before=True):
        try:
            yield row.pop("question"), PersonsDecision(**row)
        except (KeyError, TypeError):
            raise ArtifactCorrupted(
                f"{layout.decisions} line {number} is not a decision", _REMEDY
            ) from None
