"""What the certified gate has used so far, from the ledger: decisions, error budget, prompts.

Every decision looks at gate prompts. The next one may reuse the same prompts only if all decisions
since were rejections, each followed by the attempt that the config had declared beforehand: then no
candidate depends on what was seen (docs/gate.md). A person's decision, a promotion, a rollback or a
changed config ends the reuse, and the next decision takes prompts that were never used before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dpo_core.campaign.branching import InheritedAccount
from dpo_core.campaign.gate_record import GateFacts, GateRecord
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.retractions import RETRACT
from dpo_core.campaign.rollbacks import ROLLBACK
from dpo_core.campaign.step_facts import CertificateFacts, LookFacts
from dpo_core.evaluation.certification import allowance

CERTIFICATE = "certificate"
"""Step name of the test of one candidate."""

LOOKED = "gate_prompts_to"
"""Fact of a step that compared answers to gate prompts for the turn in its fact `turn`: the end of
the prompts it used, as a position in the pool."""


@dataclass(frozen=True)
class Turn:
    """A candidate at the gate.

    id: identifies this test. evaluation: hash of the candidate's metrics. declared: hash of the
    config and the user code that the campaign had declared.
    """

    round: int
    attempt: int
    id: str
    evaluation: str
    declared: str


@dataclass(frozen=True)
class Account:
    """What was used before a decision.

    decisions: tests made. planned: tests that the first one declared, None before it. used: gate
    prompts used, from the beginning of the pool. start: where this decision's prompts begin.
    """

    decisions: int = 0
    planned: int | None = None
    used: int = 0
    start: int = 0

    def alpha(self, planned: int, false_promotions: float) -> float:
        """The error probability that the next decision may spend."""
        return allowance(self.decisions + 1, self.planned or planned, false_promotions)


@dataclass(frozen=True)
class _State:
    """State while reading the ledger. start: where the prompts of the last decision begin, if the
    attempt `follows` (round, attempt) may reuse them under the same `declared`."""

    account: Account = Account()
    seen: frozenset[str] = frozenset()
    start: int | None = None
    at: tuple[int, int] | None = None
    follows: tuple[int, int] | None = None
    declared: str = ""

    def closed(self) -> "_State":
        """After anything that no config had declared: no prompts may be reused."""
        return replace(self, start=None, at=None, follows=None)

    def planned_as(self, planned: int | None) -> "_State":
        """The plan of the first decision holds, even if the config changes later."""
        planned = self.account.planned or planned
        return replace(self, account=replace(self.account, planned=planned))

    def looked(self, to: int) -> "_State":
        return replace(self, account=replace(self.account, used=max(self.account.used, to)))


def account_before(
    entries: Iterable[Entry],
    turn: Turn,
    first: int,
    inherited: InheritedAccount | None = None,
    left_after: int = 0,
) -> Account:
    """The account at the gate of `turn`; the same before and after the decision is recorded.

    Args:
        entries: the ledger, oldest first.
        turn: the candidate at the gate.
        first: gate prompts that every evaluation uses.
        inherited: the account of the parent, for a branch made after round `left_after`.
    """
    state, crossed = _State(), inherited is None
    for entry in entries:
        if entry.step == CERTIFICATE and CertificateFacts.read(entry.facts).turn == turn.id:
            state = state.planned_as(CertificateFacts.read(entry.facts).planned)
            break
        if not crossed and entry.round > left_after:
            state, crossed = _enter_branch(state, inherited), True
        if not _is_own(entry, turn):
            state = _after(state, entry, first)
    if not crossed:
        state = _enter_branch(state, inherited)
    again = (turn.round, turn.attempt) == state.follows and turn.declared == state.declared
    start = state.start if again and state.start is not None else state.account.used
    return replace(state.account, start=start)


def inheritable_account(
    entries: Iterable[Entry],
    first: int,
    inherited: InheritedAccount | None = None,
    left_after: int = 0,
) -> InheritedAccount:
    """What a branch made now would inherit."""
    account = account_before(entries, Turn(0, 0, "", "", ""), first, inherited, left_after)
    return InheritedAccount(account.decisions, account.planned, account.used)


def _is_own(entry: Entry, turn: Turn) -> bool:
    """Whether the entry is of this very turn, from a run that was killed before its certificate."""
    look = LookFacts.read(entry.facts)
    if look.gate_prompts_to is not None:
        return look.turn == turn.id
    return entry.step == "evaluation" and entry.outputs.get("evaluation.json") == turn.evaluation


def _enter_branch(state: _State, inherited: InheritedAccount | None) -> _State:
    """At the start of a branch, which a person made: no prompts may be reused."""
    assert inherited is not None, "checked by the caller"
    account = Account(
        max(state.account.decisions, inherited.decisions),
        state.account.planned or inherited.planned,
        max(state.account.used, inherited.used),
    )
    return replace(state.closed(), account=account)


def _after(state: _State, entry: Entry, first: int) -> _State:
    if entry.step == CERTIFICATE:
        return _after_certificate(state, entry)
    if entry.step == "gate":
        return _after_gate(state, entry)
    if entry.step in (ROLLBACK, RETRACT):
        return state.closed()
    look = LookFacts.read(entry.facts)
    if look.gate_prompts_to is not None:
        return state.looked(look.gate_prompts_to)
    if entry.step == "evaluation":
        return state.looked(first)
    return state


def _after_certificate(state: _State, entry: Entry) -> _State:
    facts = CertificateFacts.read(entry.facts)
    if not facts.certified:
        return state.closed()
    state = state.looked(facts.start + facts.prompts)
    account = state.account
    if facts.turn not in state.seen:
        account = replace(account, decisions=account.decisions + 1)
    state = replace(state, account=account, seen=state.seen | {facts.turn})
    state = state.planned_as(facts.planned)
    if facts.about == "gate_set":  # these prompts were used before
        return state.closed()
    return replace(
        state,
        start=facts.start,
        at=(entry.round, facts.attempt),
        follows=None,
        declared=facts.declared,
    )


def _after_gate(state: _State, entry: Entry) -> _State:
    facts = GateFacts.read(entry.facts)
    gate = facts.gate or GateRecord()
    number, attempt = entry.round, gate.attempt
    if state.at != (number, attempt) or facts.answer is not None:
        return state.closed()
    if gate.action == "ask":
        return state
    follows = {"retry": (number, attempt + 1), "keep": (number + 1, 1)}.get(gate.action or "")
    return replace(state, follows=follows) if follows is not None else state.closed()
