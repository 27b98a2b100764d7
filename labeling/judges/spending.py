"""What a judge has spent of its budget, written down reply by reply."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from dpo_core.errors import BudgetSpent
from dpo_core.records import Cost
from labeling.judges.config import LlmJudge
from labeling.judges.questions import Question

_BYTES_PER_TOKEN = 3  # fewer than tokenizers take: an estimate that is rather too high


class Meter:
    """The budget of one judge in one campaign, which outlives the process.

    Each reply is one line of a file that is only appended to; a torn last line is not counted.
    """

    def __init__(self, path: Path, judge: LlmJudge) -> None:
        self.judge = judge
        self.spent = _read(path, judge.source)
        self._path = path

    def spend(self, cost: Cost) -> None:
        """Write down what a reply took, before anything else is asked."""
        self.spent = self.spent + cost
        line = json.dumps(
            {
                "source": self.judge.source,
                "tokens_in": cost.tokens_in,
                "tokens_out": cost.tokens_out,
                "money": cost.money,
            }
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torn = self._path.exists() and not _ends_line(self._path)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + line + "\n")

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


def spent_by_source(lines: Iterable[str]) -> dict[str, Cost]:
    """source → the sum of its lines in such a file; torn ones are not counted."""
    spent: dict[str, Cost] = {}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        source = row.pop("source")
        spent[source] = spent.get(source, Cost()) + Cost(**row)
    return spent


def _read(path: Path, source: str) -> Cost:
    if not path.exists():
        return Cost()
    text = path.read_text(encoding="utf-8", errors="replace")
    return spent_by_source(text.splitlines()).get(source, Cost())


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
