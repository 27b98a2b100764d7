"""The held-out prompts on which the last round is most worse than the policy it began from."""

from collections.abc import Iterator
from dataclasses import dataclass

from dpo_core.campaign.metric_fields import finite
from dpo_core.text import visible
from reporting.number_formats import format_number
from reporting.read.samples import SampledAnswer
from reporting.sample_browser import policy_name
from reporting.summary import CampaignSummary
from reporting.word_diff import DiffPart, diff_words

SHOWN = 10


@dataclass(frozen=True)
class Regression:
    """A prompt, and both answers as one text of kept, deleted and inserted words.

    loss: by how much the score fell, or that the comparison was lost.
    """

    prompt: str
    loss: str
    reason: str
    parts: tuple[DiffPart, ...]


@dataclass(frozen=True)
class Regressions:
    """The worst of the `count` of `compared` prompts that `after` answers worse than `before`."""

    before: str
    after: str
    rounds: tuple[int, int]
    count: int
    compared: int
    worst: tuple[Regression, ...]


@dataclass(frozen=True)
class _Loss:
    """size: by how much the answer is worse."""

    size: float
    text: str
    prompt: str
    before: SampledAnswer
    after: SampledAnswer

    def shown(self) -> Regression:
        reasons = "; ".join(_reasons(self.after))
        parts = diff_words(visible(self.before.text), visible(self.after.text))
        return Regression(visible(self.prompt), self.text, reasons, parts)


def find_regressions(summary: CampaignSummary) -> Regressions | None:
    """Of the last round against the policy that it started from; None without answers of both."""
    if not summary.rounds:
        return None
    last = summary.rounds[-1]
    start = {row.policy: row.round for row in summary.rounds[:-1]}.get(last.previous_policy, 0)
    answers = [
        (row.prompt, {answer.round: answer for answer in row.answers})
        for row in summary.samples
        if row.kind == "held-out"
    ]
    both = [
        (prompt, by_round[start], by_round[last.round])
        for prompt, by_round in answers
        if start in by_round and last.round in by_round
    ]
    if not both:
        return None
    losses = [loss for pair in both if (loss := _find_loss(*pair)) is not None]
    worst = sorted(losses, key=lambda loss: -loss.size)[:SHOWN]
    before, after = map(policy_name, both[0][1:])
    return Regressions(
        before,
        after,
        (start, last.round),
        len(losses),
        len(both),
        tuple(loss.shown() for loss in worst),
    )


def _find_loss(prompt: str, before: SampledAnswer, after: SampledAnswer) -> _Loss | None:
    old, new = finite(before.score), finite(after.score)
    if old is not None and new is not None:
        text = f"score {format_number('answer_score', old)} → {format_number('answer_score', new)}"
        return _Loss(old - new, text, prompt, before, after) if new < old else None
    opponent = "previous" if before.round else "base"
    if any(given.verdict == f"lost against {opponent}" for given in after.verdicts):
        return _Loss(1.0, f"lost against {policy_name(before)}", prompt, before, after)
    return None


def _reasons(after: SampledAnswer) -> Iterator[str]:
    if after.reason:
        yield visible(after.reason)
    if after.finish_reason == "length":
        yield "truncated at the length limit"
