"""What a judge has spent of its budget, written down reply by reply."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpo_core import json_lines
from dpo_core.errors import ArtifactCorrupted, BudgetSpent
from dpo_core.records import Cost
from labeling.judges.config import LlmJudge
from labeling.judges.questions import Question

_REMEDY = (
    "Restore the file from a backup, or remove that line: what it says was spent is not counted."
)
_BYTES_PER_TOKEN = 3  # fewer than tokenizers take: an estimate that is rather too high


class SpendingMeter:
    """The budget of one judge in one campaign, which outlives the process.

    Each reply is one line of a file that is only appended to; a torn last line is not counted.
    """

    def __init__(self, path: Path, judge: LlmJudge) -> None:
        self.judge = judge
        self.spent = read_spending(path).by_source.get(judge.source, Cost())
        self._path = path

    def spend(self, cost: Cost) -> None:
        """Write down what a reply took, before anything else is asked."""
        self.spent = self.spent + cost
        line = {"source": self.judge.source, **asdict(cost)}
        # As the replies themselves: a file that syncs each one is slow.
        json_lines.append(self._path, [line], flushed=False)

    def fits(self, more: Cost) -> bool:
        """Whether the budget holds what was spent and `more`."""
        total, judge = self.spent + more, self.judge
        tokens = total.tokens_in + total.tokens_out
        return (judge.budget_tokens is None or tokens <= judge.budget_tokens) and (
            judge.budget_money is None or total.money <= judge.budget_money
        )

    def priced(self, tokens_in: int, tokens_out: int) -> Cost:
        """What so many tokens cost, at the prices of the judge's section."""
        judge = self.judge
        money = (
            tokens_in * judge.money_per_million_tokens_in
            + tokens_out * judge.money_per_million_tokens_out
        ) / 1e6
        return Cost(tokens_in, tokens_out, money)

    def estimate(self, question: Question) -> Cost:
        """What a question takes at most, as far as its length tells."""
        tokens_in = len(question.text.encode()) // _BYTES_PER_TOKEN + 1
        return self.priced(tokens_in, self.judge.max_tokens)

    def refusal(self) -> BudgetSpent:
        """The error to raise where the next question does not fit."""
        spent, judge = self.spent, self.judge
        limits = {"budget_money": judge.budget_money, "budget_tokens": judge.budget_tokens}
        named = " and ".join(f"{name} {value:g}" for name, value in limits.items() if value)
        return BudgetSpent(
            f"the judge {judge.source} has spent {spent.money:g} for "
            f"{spent.tokens_in + spent.tokens_out} tokens; its next question may not fit {named}",
            "Raise the budget and type the same `ratchet run` again: replies are kept, and what "
            "was asked once is not paid again.",
        )


@dataclass(frozen=True)
class Spending:
    """by_source: source → the sum of its lines; end: where the last of them ends, in bytes."""

    by_source: Mapping[str, Cost]
    end: int


def read_spending(path: Path, begin: int = 0) -> Spending:
    """What judges spent, from byte `begin` of the file on; nothing where there is none.

    Raises ArtifactCorrupted for a line that is not as it was written.
    """
    end = json_lines.end_of_lines(path)
    spent: dict[str, Cost] = {}
    for _, row in json_lines.read(path, _REMEDY, begin=begin, end=end, torn_before=True):
        source, cost = _line(path, row)
        spent[source] = spent.get(source, Cost()) + cost
    return Spending(spent, end)


def _line(path: Path, row: dict[str, Any]) -> tuple[str, Cost]:
    try:
        return row.pop("source"), Cost(**row)
    except (KeyError, TypeError):
        raise ArtifactCorrupted(
            f"{path} has a line that says no spending: {row}", _REMEDY
        ) from None
