"""What a campaign's numbers say, in sentences."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpo_core.campaign.facts import incumbent_round, is_over
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.retractions import Retraction
from dpo_core.campaign.rollbacks import Rollback
from dpo_core.records import HUMAN, is_person
from dpo_core.text import visible
from reporting.certification import BY_A_PERSON, certification_status
from reporting.numbers import MISSING, Row, base_number, number, number_and_ends
from reporting.summary import CampaignSummary

LENGTH_RATIO = 1.25
"""Mean lengths further apart than this are pointed out: judges are known to prefer long answers."""
TRUNCATED_RISE = 0.05
DECISIONS_SHOWN = 4


def headline(summary: CampaignSummary) -> str:
    """What the campaign has reached so far, in one to three sentences."""
    if not summary.rounds:
        return "No round has finished yet."
    stands = incumbent_number(summary)
    said = _against_base(incumbent_row(summary))
    later = [row for row in summary.rounds if row["round"] > stands]
    left = [int(row["round"]) for row in later if row.get("promoted")]
    if left:
        were = "were" if len(left) > 1 else "was"
        gone = f"{_capital(_rounds(left))} {were} promoted, and taken back later."
        said = f"{said} {gone}" if stands else f"The base policy stands. {gone}"
    elif not stands:
        return f"No round was promoted, the base policy stands. {said}"
    refused = [int(row["round"]) for row in later if not row.get("promoted")]
    if refused and stands:
        said += f" {_capital(_rounds(refused))} did not improve on it."
    return said


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _against_base(row: Row, name: str = "") -> str:
    rate, low, high = number_and_ends(row, "win_rate_base")
    name = name or f"Round {row['round']}"
    if rate is None:
        return f"{name} has not been compared with the base."
    share = f"{percent_interval(row, 'win_rate_base')} of {_prompts(row, 'test', 'held-out')}"
    if low is not None and low > 0.5:
        said = f"{name} beats the base on {share}"
    elif high is not None and high < 0.5:
        said = f"{name} is worse than the base: it wins on only {share}"
    elif low is None or high is None:
        said = f"{name} wins against the base on {share}, without an interval"
    else:
        said = f"{name} is not clearly better than the base: it wins on {share}"
    kl = number(row, "kl_base_nats")
    return said + ("." if kl is None else f"; KL to base {_nats(kl)} nats.")


def verdict(row: Row) -> str:
    """In one sentence: why the round's policy was promoted or not, and where it stands."""
    stands = _against_base(row, "it")
    gate = number(row, "win_rate_gate")
    if gate is None:
        return f"{_decided(row)}: {stands}"
    word = "won" if row.get("promoted") else "won only"
    share = f"{percent_interval(row, 'win_rate_gate')} of {_prompts(row, 'gate', 'gate')}"
    return f"{_decided(row)}: {word} {share} against the previous policy; {stands}"


_DECIDED = {
    "keep": "Not promoted",
    "retry": "Not promoted, tried again",
    "rollback": "Not promoted, rolled back",
    "ask": "Left to a person",
    "stop": "Not promoted, campaign stopped",
}


def _decided(row: Row) -> str:
    if row.get("promoted"):
        return f"Promoted{_rests_on(row)}"
    return _DECIDED.get((row.get("gate") or {}).get("action", "keep"), "Not promoted")


def _rests_on(row: Row) -> str:
    """Of a gate that asks for certificates."""
    found = certification_status(row)
    if found == BY_A_PERSON:
        return " by a person, not certified"
    return f", {found}" if found is not None else ""


def gate_decisions(summary: CampaignSummary) -> tuple[str, ...]:
    """What the gate decided of the last rounds that it did not simply promote, and why."""
    told = [
        f"round {row['round']}: {visible(str(row['decision']))}"
        for row in summary.rounds
        if row.get("decision") and not _simply_promoted(row)
    ]
    return tuple(told[-DECISIONS_SHOWN:])


def _simply_promoted(row: Row) -> bool:
    """Without a person's word."""
    return bool(row.get("promoted")) and not (row.get("gate") or {}).get("answer")


def gate_reasons(row: Row) -> tuple[str, ...]:
    """What the gate says of its decision, of the attempts before it and of a person's answer."""
    gate = row.get("gate") or {}
    said = [str(reason) for reason in gate.get("reasons") or ()]
    for tried in gate.get("tried") or ():
        under = ", ".join(tried.get("changes") or ()) or "the config as it is"
        said.append(f"attempt {tried.get('attempt')} under {under}: {tried.get('decision')}")
    if gate.get("changes"):
        said.append(f"attempt {gate.get('attempt')} ran under {', '.join(gate['changes'])}")
    answer = gate.get("answer")
    if answer:
        word = "yes" if answer.get("promote") else "no"
        said.append(f"{answer.get('by')} said {word}: {answer.get('reason')}")
    if gate.get("goes_on_from") not in (None, row.get("round")):
        said.append(f"the next round goes on from round {gate['goes_on_from']}")
    return tuple(visible(one) for one in said)


def gate_checks(row: Row) -> tuple[tuple[str, str, str, str], ...]:
    """(check, value, bound, whether it passed) of each of the gate's checks."""
    checks = (row.get("gate") or {}).get("checks") or ()
    return tuple(
        (
            visible(str(check.get("name", ""))),
            _plain(check.get("value")),
            _plain(check.get("bound")),
            "passed" if check.get("passed") else "failed",
        )
        for check in checks
    )


def _plain(value: object) -> str:
    if value is None:
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))


def cautions(summary: CampaignSummary, row: Row) -> tuple[str, ...]:
    """What a reader should look at before believing the round's win rate.

    The early warnings of its training come last.
    """
    found = []
    length, base_length = number(row, "length_mean"), base_number(summary, "length_mean")
    if length and base_length and not 1 / LENGTH_RATIO <= length / base_length <= LENGTH_RATIO:
        change = 100 * (length / base_length - 1)
        word = "longer" if change > 0 else "shorter"
        found.append(
            f"Answers are {abs(change):.0f} % {word} than the base's "
            f"({length:.0f} against {base_length:.0f} tokens): "
            "read them before trusting the win rate."
        )
    cut, base_cut = number(row, "truncated_share"), base_number(summary, "truncated_share")
    if cut is not None and cut - (base_cut or 0.0) > TRUNCATED_RISE:
        found.append(
            f"{100 * cut:.0f} % of the answers are cut at the length limit "
            f"(base {100 * (base_cut or 0.0):.0f} %)."
        )
    return (*found, *(visible(said) for said in (row.get("warnings") or {}).values()))


def override_sentences(summary: CampaignSummary) -> tuple[str, ...]:
    """What was taken back, one sentence per source or rollback; and what to type where rounds do
    not know yet what counts now."""
    return (
        *map(_rolled_back, summary.rollbacks),
        *(_taken(one, summary) for one in summary.retractions),
        *_to_type(summary),
    )


def _rolled_back(one: Rollback) -> str:
    to = f"round {one.to}" if one.to else "the base"
    why = f": {visible(one.why)}" if one.why else ", without a reason given"
    return (
        f"After round {one.after} the campaign was taken back to {to}, whose policy goes on, by "
        f"{visible(one.by)} on {one.at[:10]}{why}."
    )


def _taken(one: Retraction, summary: CampaignSummary) -> str:
    if is_person(one.source):
        what = f"The labels of {visible(one.source.removeprefix(HUMAN))}"
    else:
        what = f"The judgements of {visible(one.source)}"
    everywhere = len(one.rounds) == summary.rounds_planned
    where = "any round" if everywhere else _rounds(one.rounds)
    used = f"; {_rounds(one.used)} had some" if everywhere and one.used else ""
    return (
        f"{what} do not count in {where}{used}: {visible(one.by)} took them back on {one.at[:10]}."
    )


def _to_type(summary: CampaignSummary) -> Iterator[str]:
    if summary.outdated:
        config = Layout(Path(summary.directory)).config
        command = ("ratchet", "run", str(config), "--campaign-dir", summary.directory)
        yield (
            f"What counts in {_rounds(summary.outdated)} has changed since: to train again what "
            f"depends on it, type `{visible(shlex.join(command))}`."
        )


def _rounds(numbers: Sequence[int]) -> str:
    *first, last = (str(number) for number in numbers)
    return f"rounds {', '.join(first)} and {last}" if first else f"round {last}"


def percent_interval(row: Row, name: str) -> str:
    """A share in per cent, with its interval where it has one."""
    value, low, high = number_and_ends(row, name)
    if value is None:
        return MISSING
    if low is None or high is None:
        return f"{100 * value:.0f} %"
    return f"{100 * value:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _prompts(row: Row, split: str, word: str) -> str:
    count = number(row, f"{split}_prompts")
    return f"{word} prompts" if count is None else f"{count:.0f} {word} prompts"


def _nats(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def progress(summary: CampaignSummary) -> str:
    """How far the campaign is, and what it does now."""
    done = sum(map(is_over, summary.rounds))
    said = f"{done} of {summary.rounds_planned} rounds done"
    if summary.stopped is not None and summary.state == "finished":
        return f"{said}, ended early: {visible(summary.stopped['sentence'])}"
    now = "" if summary.state == "waiting" else "now "
    if summary.stopped:
        said += f", ended early: {visible(str(summary.stopped.get('sentence', '')))}"
    return f"{said}, {now}{visible(summary.doing)}" if summary.doing else said


def incumbent_number(summary: CampaignSummary) -> int:
    """The round whose policy stands now; 0: the base's."""
    rows = {int(row["round"]): row for row in summary.rounds}
    return incumbent_round(rows, summary.rollbacks, max(rows, default=0))


def incumbent_row(summary: CampaignSummary) -> Row:
    """The round whose policy stands; where the base's does, the last one."""
    number = incumbent_number(summary)
    return next((row for row in summary.rounds if row["round"] == number), summary.rounds[-1])
