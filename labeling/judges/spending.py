"""What a judge has spent of its budget, recorded reply by reply."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dpo_core import json_lines
from dpo_core.errors import ArtifactCorrupted, BudgetSpent
from dpo_core.records import Cost
from labeling.judges.config import LlmJudge
from labeling.judges.questions import Question

_REMEDY = "Restore the file from a backup, or remove that line: its spending is then not counted."
_BYTES_PER_TOKEN = 3  # fewer than tokenizers need, so that estimates are too high


class SpendingMeter:
    """The budget of one judge in one campaign, across processes.

    Each reply is one line of an append-only file; a torn last line is not counted.
    """

    def __init__(self, path: Path, judge: LlmJudge) -> None:
        self.judge = judge
        self.spent = read_spending(path).by_source.get(judge.source, Cost())
        self._path = path

    def spend(self, cost: Cost) -> None:
        """Record the cost of a reply, before anything else is asked."""
        self.spent = self.spent + cost
        line = {"source": self.judge.source, **asdict(cost)}
        # Syncing every line is slow, as for the replies themselves.
        json_lines.append(self._path, [line], flushed=False)

    def fits(self, more: Cost) -> bool:
        """Whether the budget covers what was spent plus `more`."""
        total, judge = self.spent + more, self.judge
        tokens = total.tokens_in + total.tokens_out
        return (judge.budget_tokens is None or tokens <= judge.budget_tokens) and (
            judge.budget_money is None or total.money <= judge.budget_money
        )

    def priced(self, tokens_in: int, tokens_out: int) -> Cost:
        """Cost of these tokens at the prices of the judge's section."""
        judge = self.judge
        money = (
            tokens_in * judge.money_per_million_tokens_in
            + tokens_out * judge.money_per_million_tokens_out
        ) / 1e6
        return Cost(tokens_in, tokens_out, money)

    def estimate(self, question: Question) -> Cost:
        """Upper estimate of a question's cost, from its length."""
        tokens_in = len(question.text.encode()) // _BYTES_PER_TOKEN + 1
        return self.priced(tokens_in, self.judge.max_tokens)

    def refusal(self) -> BudgetSpent:
        """The error to raise when the next question does not fit."""
        spent, judge = self.spent, self.judge
        limits = {"budget_money": judge.budget_money, "budget_tokens": judge.budget_tokens}
        named = " and ".join(f"{name} {value:g}" for name, value in limits.items() if value)
        return BudgetSpent(
            f"the judge {judge.source} has spent {spent.money:g} for "
            f"{spent.tokens_in + spent.tokens_out} tokens; its next question may not fit {named}",
            "Raise the budget and run the same `ratchet run` again; replies are kept and not paid "
            "for twice.",
        )


@dataclass(frozen=True)
class Spending:
    """by_source: source → total cost; end: byte offset after the last line read."""

    by_source: Mapping[str, Cost]
    end: int


def read_spending(path: Path, begin: int = 0) -> Spending:
    """What judges spent, from byte `begin` of the file on; empty for a missing file.

    Raises ArtifactCorrupted for a line that cannot be read.
    """
    end = json_lines.end_of_lines(path)
    spent: dict[str, Cost] = {}
    for _, row in json_lines.read(path, _REMEDY, begin=begin, end=end, torn_before=True):
        try:
            source, cost = row.pop("source"), Cost(**row)
        except (KeyError, TypeError):
            raise ArtifactCorrupted(
                f"{path} has a line that records no spending: {row}", _REMEDY
            ) from None
        spent[source] = spent.get(source, Cost()) + cost
    return Spending(spent, end)
