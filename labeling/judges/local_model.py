"""Questions to a model that runs here, batch by batch within the budget."""

from collections.abc import Sequence
from dataclasses import replace

from dpo_core.records import Cost
from labeling.judges.answers import one_each
from labeling.judges.models import AskHere
from labeling.judges.questions import Question, Reply, Take
from labeling.judges.spending import SpendingMeter

_BATCH = 256


class LocalModel:
    """Asks in batches, and hands over each reply with what it cost."""

    def __init__(self, meter: SpendingMeter, ask: AskHere) -> None:
        self._meter = meter
        self._ask = ask

    def __call__(self, questions: Sequence[Question], take: Take) -> None:
        done = 0
        while done < len(questions):
            batch = self._fitting(questions[done : done + _BATCH])
            given = self._ask(self._meter.judge, batch)
            replies = one_each(given, batch, Reply, lambda why: Reply("", failure=why))
            for number, reply in enumerate(replies, done):
                cost = self._meter.priced(reply.cost.tokens_in, reply.cost.tokens_out)
                self._meter.spend(cost)
                take(number, replace(reply, cost=cost))
            done += len(batch)

    def _fitting(self, batch: Sequence[Question]) -> Sequence[Question]:
        """As much of the batch as the budget holds. Raises BudgetSpent where it holds nothing."""
        while batch:
            if self._meter.fits(sum(map(self._meter.estimate, batch), Cost())):
                return batch
            batch = batch[: len(batch) // 2]
        raise self._meter.refusal()
