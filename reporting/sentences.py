"""Sentences about a campaign: headline, verdicts, cautions, progress, what people overrode."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from dpo_core.campaign.facts import incumbent_round, is_over
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.retractions import Retraction
from dpo_core.campaign.rollbacks import Rollback
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.records import HUMAN, is_person
from dpo_core.text import visible
from reporting.certification import BY_A_PERSON, certification_status
from reporting.number_formats import (
    COLLAPSED_NATS,
    MISSING,
    format_metric,
    format_number,
)
from reporting.numbers import base_number, list_rounds
from reporting.summary import CONFIDENCE, CampaignSummary

LENGTH_RATIO = 1.25
"""Ratio of mean lengths beyond which there is a caution: judges tend to prefer long answers."""
TRUNCATED_RISE = 0.05
DECISIONS_SHOWN = 4


def headline(summary: CampaignSummary) -> str:
    """What the campaign has reached so far, in one to three sentences."""
    if not summary.rounds:
        return "No round has finished yet."
    incumbent = incumbent_number(summary)
    result = _against_base(incumbent_row(summary), summary.settings.confidence)
    later = [row for row in summary.rounds if row.round > incumbent]
    asking = [row.round for row in later if is_open(row)]
    if asking:
        return f"{_capital(list_rounds(asking))} needs your decision. {result}"
    undone = [row.round for row in later if row.promoted]
    if undone:
        were = "were" if len(undone) > 1 else "was"
        rollback = f"{_capital(list_rounds(undone))} {were} promoted and later rolled back."
        result = f"{result} {rollback}" if incumbent else f"The base is current. {rollback}"
    elif not incumbent:
        return f"No round was promoted: the base is current. {result}"
    rejected = [row.round for row in later if not row.promoted]
    if rejected and incumbent:
        were = "were" if len(rejected) > 1 else "was"
        result += f" {_capital(list_rounds(rejected))} {were} not promoted."
    return result


def incumbent_number(summary: CampaignSummary) -> int:
    """The round whose policy is current; 0 is the base."""
    rows = {row.round: row for row in summary.rounds}
    return incumbent_round(rows, summary.rollbacks, max(rows, default=0))


def incumbent_row(summary: CampaignSummary) -> RoundMetrics:
    """The round whose policy is current; the last round if that is the base."""
    current = incumbent_number(summary)
    return next((row for row in summary.rounds if row.round == current), summary.rounds[-1])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _against_base(row: RoundMetrics, level: float | None, name: str = "") -> str:
    rate, low, high = row.interval("win_rate_base")
    name = name or f"Round {row.round}"
    if rate is None:
        return f"{name} has not been compared with the base."
    share = format_metric(row, "win_rate_base", level)
    share += f" on {_prompts(row, 'test', 'held-out')}"
    if low is not None and low > 0.5:
        result = f"{name} beats the base with a win rate of {share}"
    elif _is_a_persons(row):
        result = f"{name} wins {share} vs. the base"
    elif high is not None and high < 0.5:
        result = f"{name} is worse than the base, with a win rate of {share}"
    elif low is None or high is None:
        result = f"{name} wins {share} vs. the base (no confidence interval)"
    else:
        result = f"{name} is not clearly better than the base, with a win rate of {share}"
    kl = row.number("kl_base_nats")
    distance = "" if kl is None else f"; KL to base {format_number('kl_base_nats', kl)} nats"
    if kl is not None and kl > COLLAPSED_NATS:
        nats = format_number("kl_base_nats", kl)
        return f"{name} collapsed: KL to base {nats} nats (win rate {share})."
    return f"{result}{distance}."


def verdict(row: RoundMetrics, level: float = CONFIDENCE) -> str:
    """One sentence: whether the round was promoted, and its win rates.

    level: of the confidence intervals, `evaluation.confidence`.
    """
    if row.win_rate_gate is None:
        return f"{_outcome(row)}: {_against_base(row, level, 'it')}"
    gate = f"win rate {format_metric(row, 'win_rate_gate', level)} vs. the previous policy"
    prompts = _prompts(row, "gate", "gate")
    return f"{_outcome(row)}: {gate} on {prompts}; {_against_base(row, None, 'it')}"


_OUTCOMES = {
    "keep": "Not promoted",
    "retry": "Not promoted, retried",
    "rollback": "Not promoted, rolled back",
    "ask": "Needs your decision",
    "stop": "Not promoted, campaign ended",
}


def _outcome(row: RoundMetrics) -> str:
    if row.promoted:
        return f"Promoted{_certification(row)}"
    return _OUTCOMES.get(row.at_gate.action or "keep", "Not promoted")


def _certification(row: RoundMetrics) -> str:
    """How a promotion is certified; empty if the gate is not a certified one."""
    status = certification_status(row)
    if status == BY_A_PERSON:
        return " by a person, not certified"
    return f", {status}" if status is not None else ""


def gate_decisions(summary: CampaignSummary) -> tuple[str, ...]:
    """The gate's decisions on the last rounds, without those that it promoted by itself."""
    sentences = [
        f"round {row.round}: {_decision(row)}"
        for row in summary.rounds
        if row.decision and not _promoted_by_gate(row)
    ]
    return tuple(sentences[-DECISIONS_SHOWN:])


def _decision(row: RoundMetrics) -> str:
    """What was decided; of an open decision and a person's, no more than that. What failed stands
    with the checks."""
    gate = row.at_gate
    if is_open(row):
        return "needs your decision"
    if gate.answer is not None and gate.answer.promote and gate.reasons:
        return f"promoted: {visible(gate.reasons[0])}"
    return visible(row.decision or "")


def is_open(row: RoundMetrics) -> bool:
    """Whether the gate has asked a person who has not answered yet."""
    return row.at_gate.action == "ask"


def _is_a_persons(row: RoundMetrics) -> bool:
    """Whether a person promoted the round, or is asked: no sentence of ours may forestall that."""
    answer = row.at_gate.answer
    return is_open(row) or (bool(row.promoted) and answer is not None and answer.promote)


def _promoted_by_gate(row: RoundMetrics) -> bool:
    return bool(row.promoted) and row.at_gate.answer is None


def gate_reasons(row: RoundMetrics) -> tuple[str, ...]:
    """The gate's reasons, its earlier attempts, and a person's answer."""
    gate = row.at_gate
    reasons = list(gate.reasons)
    for tried in gate.tried:
        changes = ", ".join(tried.changes) or "config unchanged"
        reasons.append(f"attempt {tried.attempt} ({changes}): {tried.decision}")
    if gate.changes:
        reasons.append(f"attempt {gate.attempt} used {', '.join(gate.changes)}")
    if gate.answer is not None:
        choice = "to promote" if gate.answer.promote else "not to promote"
        reasons.append(f"{gate.answer.by} chose {choice} it: {gate.answer.reason}")
    start = gate.goes_on_from
    if start not in (None, row.round) and not is_open(row):
        reasons.append(f"the next round starts from {f'round {start}' if start else 'the base'}")
    return tuple(map(visible, reasons))


def gate_checks(row: RoundMetrics) -> tuple[tuple[str, str, str, str], ...]:
    """(check, value, bound, "passed" or "failed") for each of the gate's checks."""
    return tuple(
        (
            visible(check.name),
            _plain(check.name, check.value),
            _plain(check.name, check.bound),
            "passed" if check.passed else "failed",
        )
        for check in row.at_gate.checks
    )


def _plain(name: str, value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(name, float(value))
    return visible(str(value))


def cautions(summary: CampaignSummary, row: RoundMetrics) -> tuple[str, ...]:
    """What to look at before trusting the round's win rate; early warnings of its training last."""
    sentences = []
    length, base_length = row.length_mean, base_number(summary, "length_mean")
    if length and base_length and not 1 / LENGTH_RATIO <= length / base_length <= LENGTH_RATIO:
        change = length / base_length - 1
        word = "longer" if change > 0 else "shorter"
        ours, theirs = (format_number("length_mean", mean) for mean in (length, base_length))
        sentences.append(
            f"Answers are {format_number('share', abs(change))} {word} than the base's ({ours} vs. "
            f"{theirs} tokens). Read some before trusting the win rate."
        )
    cut, base_cut = row.truncated_share, base_number(summary, "truncated_share")
    if cut is not None and cut - (base_cut or 0.0) > TRUNCATED_RISE:
        sentences.append(
            f"{format_number('truncated_share', cut)} of answers are truncated at the length limit "
            f"(base {format_number('truncated_share', base_cut or 0.0)})."
        )
    return (*sentences, *map(visible, (row.warnings or {}).values()))


def override_sentences(summary: CampaignSummary) -> tuple[str, ...]:
    """One sentence per rollback and retraction by a person; last, the command that retrains what
    they affect."""
    return (
        *map(_rollback_sentence, summary.rollbacks),
        *(_retraction_sentence(retraction, summary) for retraction in summary.retractions),
        *_retrain_command(summary),
    )


def _rollback_sentence(rollback: Rollback) -> str:
    to = f"round {rollback.to}" if rollback.to else "the base"
    why = f": {visible(rollback.why)}" if rollback.why else " (no reason given)"
    return (
        f"After round {rollback.after}, {visible(rollback.by)} rolled back to {to} on "
        f"{rollback.at[:10]}{why}."
    )


def _retraction_sentence(retraction: Retraction, summary: CampaignSummary) -> str:
    if is_person(retraction.source):
        what = f"Labels by {visible(retraction.source.removeprefix(HUMAN))}"
    else:
        what = f"Judgements by {visible(retraction.source)}"
    everywhere = len(retraction.rounds) == summary.rounds_planned
    where = "all rounds" if everywhere else list_rounds(retraction.rounds)
    had = everywhere and retraction.used
    used = f" (present in {list_rounds(retraction.used)})" if had else ""
    return (
        f"{what} are retracted in {where}{used}, by {visible(retraction.by)} on "
        f"{retraction.at[:10]}."
    )


def _retrain_command(summary: CampaignSummary) -> Iterator[str]:
    if summary.outdated:
        config = Layout(Path(summary.directory)).config
        command = ("ratchet", "run", str(config), "--campaign-dir", summary.directory)
        are = "are" if len(summary.outdated) > 1 else "is"
        yield (
            f"{_capital(list_rounds(summary.outdated))} {are} out of date after a retraction. To "
            f"retrain, run `{visible(shlex.join(command))}`."
        )


def _prompts(row: RoundMetrics, split: str, word: str) -> str:
    count = row.number(f"{split}_prompts")
    return f"{word} prompts" if count is None else f"{count:.0f} {word} prompts"


def failure_sentence(summary: CampaignSummary) -> str:
    """Why the last run failed, in its first line, and what to do; empty if it did not."""
    if summary.failure is None:
        return ""
    why = (summary.failure.message.splitlines() or [""])[0].rstrip(".")
    return visible(f"The last run failed: {why}. {summary.failure.remedy}".strip())


def next_step(summary: CampaignSummary) -> str:
    """What to do next, with the command to type; empty while nothing has to be done."""
    folder = summary.directory
    config = str(Layout(Path(folder)).config)
    again = shlex.join(("ratchet", "run", config, "--campaign-dir", folder))
    if summary.state == "waiting":
        return visible(_capital(summary.doing)) + "."
    if summary.state == "stopped":
        return f"Resume it: `{visible(again)}`."
    if summary.state != "finished" or not summary.rounds:
        return ""
    incumbent = incumbent_number(summary)
    if not incumbent:
        branch = ("ratchet", "branch", folder, "--from-round", "0", "--set", "KEY=VALUE")
        return (
            "Nothing was promoted. Read the cautions of the last round, then try other values: "
            f"`{visible(shlex.join(branch))}`."
        )
    publish = ("ratchet", "publish", folder, "--round", str(incumbent), "--to", "FOLDER")
    return f"Read some samples, then publish it: `{visible(shlex.join(publish))}`."


def progress(summary: CampaignSummary) -> str:
    """How many rounds are done, and what runs now."""
    done = sum(map(is_over, summary.rounds))
    rounds = f"{done} of {summary.rounds_planned} rounds done"
    if summary.stopped is not None:
        rounds += f", ended early: {visible(summary.stopped.sentence)}"
    if summary.stopped is not None and summary.state == "finished":
        return rounds
    now = "" if summary.state == "waiting" else "now "
    return f"{rounds}, {now}{visible(summary.doing)}" if summary.doing else rounds
