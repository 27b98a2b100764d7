"""Step `labels`: people's labels of selected pairs.

Pushes the pairs and collects answers. Until there are enough it raises WaitingForPeople and holds
nothing; the next run resumes at the same point.
"""

import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.step_facts import LabelsFacts
from dpo_core.campaign.waiting import waited_for, write_waiting
from dpo_core.errors import LabelsError, LabelServerFailed, WaitingForPeople
from dpo_core.hashing import content_id
from dpo_core.records import LabelRow
from dpo_core.schemas import ASKED, LABELS
from dpo_core.tables import read_rows, write_rows
from flows.people import (
    close_queue,
    describe_waiting,
    find_queue,
    is_past_deadline,
    server_access,
)
from flows.read_records import read_candidates, read_judgements, read_pairs, read_reliability
from flows.round_state import parquet_inputs
from flows.session import Session
from labeling.aggregation.annotators import measure_annotators
from labeling.aggregation.calibration import unreliable_pairs
from labeling.judges.config import asks_people
from labeling.pairs.for_people import LabelPlan, choose_for_people, split_budget
from labeling.people.answers import AnswerCounts, asked_rows, label_rows, latest_answers
from labeling.people.config import PeopleConfig
from labeling.people.gold import read_gold
from labeling.people.label_queue import CampaignQueue, SharedAgreement
from labeling.people.log import LabelLog, RoundLog
from labeling.people.task import (
    Item,
    ItemBuilder,
    are_continuations,
    joint_opinion,
    pick_gold,
    plan_items,
    read_guidelines,
)

if TYPE_CHECKING:
    from labeling.people.asking import Task

_WAITING_ONLY = {
    "show_agreement",
    "quorum",
    "deadline_hours",
    "at_deadline",
    "poll_s",
    "server_dir",
    "workspace",
}


def ask_people(
    session: Session,
    number: int,
    pairs: Artifact,
    judgements: Artifact,
    completions: Artifact,
    prompts: Artifact,
    calibration: Artifact | None = None,
) -> Artifact | None:
    """The labels of the round; None if the judge asks no people.

    calibration: people are asked first where judgements are unreliable. A changed calibration
    changes the plan, and does not ask again for what was answered.

    Raises WaitingForPeople until the quorum is reached or the deadline has passed.
    """
    if not asks_people(session.config.judge):
        waited_for(session.layout, number)
        return None
    recorded = session.steps.as_recorded(number, "labels")
    if recorded is not None:
        return recorded
    reliability = calibration.path("reliability.parquet") if calibration is not None else None
    distrusted = unreliable_pairs(read_reliability(reliability))
    inputs = parquet_inputs(pairs=pairs, judgements=judgements, completions=completions)
    gold = session.config.people_config.gold
    if gold is not None:
        inputs["gold"] = session.file_input(Path(gold))
    resolved = session.resolve_gone(number, "labels", inputs)
    asking = _LabelRound(session, number, distrusted, resolved)
    inputs |= parquet_inputs(prompts=prompts)
    labels = session.step(number, "labels", asking.make, config=asking.recipe(), inputs=inputs)
    waited_for(session.layout, number)  # also where the labels were on disk
    return labels


class _LabelRound:
    """One round's labelling, from the pairs to the labels."""

    def __init__(
        self,
        session: Session,
        number: int,
        distrusted: Collection[str],
        inputs: Mapping[str, Input],
    ) -> None:
        self.session = session
        self.number = number
        self.distrusted = distrusted
        self.people: PeopleConfig = session.config.people_config
        self.seed = session.seed("labels", number)
        self.log = LabelLog(session.layout.labels(number))
        # Where people are asked is no input of what they are asked.
        self.queue = find_queue(session.layout, session.config.name)
        self.guidelines = read_guidelines(self.people.guidelines)
        recipe = {
            **self.people.model_dump(mode="json", exclude={*_WAITING_ONLY, "gold"}),
            **session.config.budget.model_dump(mode="json"),
            "guidelines": self.guidelines,
            "seed": self.seed,
        }
        self.plan = content_id("plan", recipe, {k: v.hash for k, v in inputs.items()})

    def recipe(self) -> Mapping[str, object]:
        """What decides which pairs are asked and which answers count."""
        return {"plan": self.plan, "pulls": self.log.read().pulls}

    def make(self, folder: Path, inputs: Inputs) -> StepResult:
        items = self._items(inputs)
        task = self._task(items)
        url = self._ask(task)
        log = self.log.read()
        tally = task.tally(log)
        ended_by = self._ended_by(tally, log)
        if ended_by is None:
            raise self._waiting(tally, log, url)
        asked = [log.asked[item.record_id] for item in items]
        rows = list(label_rows(asked, latest_answers(log.answers.values())))
        write_rows(folder / "labels.parquet", rows, LABELS)
        close_queue(self.people, log, _agreement(rows) if self.people.show_agreement else None)
        left_out = ended_by == "deadline, use"
        write_rows(folder / "asked.parquet", asked_rows(asked, rows, left_out=left_out), ASKED)
        ids = [record.pair_id for record in asked if record.kind == "pair"]
        missing = _missing(ids, rows)
        return StepResult(
            len(ids),
            len(ids) - sum(missing.values()),
            missing,
            facts=_facts(rows, items).model_copy(update=self._waited(log, tally, ended_by)),
        )

    def _items(self, inputs: Inputs) -> list[Item]:
        config, people = self.session.config, self.people
        files = (inputs.path(name) for name in ("pairs", "completions", "prompts"))
        pairs = {pair.pair_id: pair for pair in read_pairs(*files)}
        judgements, gold_file = inputs.path("judgements"), inputs.find("gold")
        judged = read_judgements(judgements)
        gold = read_gold(gold_file) if gold_file is not None else []
        split = split_budget(people, config.budget, pairs=len(pairs), gold=len(gold))
        opinions = {p: opinion for p in pairs if (opinion := joint_opinion(judged.get(p, ())))}
        sources = sorted({row["source"] for row in read_rows(judgements, ["source"])})
        task = ItemBuilder(self.number, self.seed, people.mode, opinions, ", ".join(sources))
        chosen = [(pairs[pair_id], why) for pair_id, why in self._choose(split.pairs, inputs)]
        return plan_items(task, chosen, pick_gold(gold, split.gold, self.seed), split.repeats)

    def _choose(self, count: int, inputs: Inputs) -> list[tuple[str, str]]:
        """(pair, why it is asked); a plan that was pushed once does not change."""
        log = self.log.read()
        if log.plan == self.plan:
            planned = (log.asked[record] for record in log.planned)
            return [(record.pair_id, record.why) for record in planned if record.kind == "pair"]
        people = self.people
        plan = LabelPlan(count, self.seed, people.choose, people.calibration_share, self.distrusted)
        files = (inputs.path(name) for name in ("pairs", "judgements", "completions"))
        candidates = read_candidates(*files)
        return [(chosen.pair_id, chosen.why) for chosen in choose_for_people(candidates, plan)]

    def _task(self, items: Sequence[Item]) -> "Task":
        from labeling.people.argilla_parts import Questions
        from labeling.people.asking import Task

        people, campaign = self.people, self.session.config.name
        questions = Questions(people.min_submitted, people.strength, people.comment)
        identity = content_id(questions.min_submitted, questions.strength, questions.comment)
        log = self.log.read()
        if log.dataset is None or log.questions != identity:
            # Random, because two campaigns may share a name, and folders move.
            name = f"{campaign}, round {self.number} ({secrets.token_hex(3)})"
            continuation = are_continuations(items)
            self.log.log_opened(name, identity, self.queue, continuation=continuation)
            log = self.log.read()
        assert log.dataset is not None and log.queue is not None, "just opened"
        return Task(
            log.dataset,
            replace(questions, continuation=log.continuation),
            self.guidelines,
            items,
            people.quorum,
            self.plan,
            CampaignQueue(log.queue, campaign, self.number, self.session.config.rounds),
        )

    def _ask(self, task: "Task") -> str:
        """Push pairs and collect answers; returns the URL to label at."""
        from labeling.people.argilla_queue import ArgillaQueue
        from labeling.people.asking import ask

        progress = self.session.progress
        self.session.wait_for_uploads()
        progress.starting("connection to Argilla")
        try:
            with ArgillaQueue(server_access(self.people), self.people.workspace) as queue:
                return ask(queue, self.log, task, progress.advance).url
        except LabelServerFailed as error:
            if not task.tally(self.log.read()).reached:
                raise
            progress.notice(f"{error.message}; the labels collected so far are enough")
            return ""

    def _ended_by(self, tally: AnswerCounts, log: RoundLog) -> str | None:
        """What ends the wait; None while it lasts."""
        if tally.reached:
            return "quorum"
        if self.people.at_deadline == "wait" or not is_past_deadline(
            self.people, log, datetime.now(UTC)
        ):
            return None
        if self.people.at_deadline == "stop":
            raise LabelsError(
                f"round {self.number}: the deadline has passed with "
                f"{tally.needed - tally.missing} of {tally.needed} answers received; "
                "people.at_deadline is stop",
                "Raise people.deadline_hours, lower people.quorum, or set people.at_deadline.",
            )
        return f"deadline, {self.people.at_deadline}"

    def _waiting(self, tally: AnswerCounts, log: RoundLog, url: str) -> WaitingForPeople:
        waiting = describe_waiting(self.number, self.people, log, tally, url)
        write_waiting(self.session.layout, waiting)
        self.session.processes.release()
        return WaitingForPeople(waiting.sentence, "Then type the same `ratchet run` again.")

    def _waited(self, log: RoundLog, tally: AnswerCounts, ended_by: str) -> Mapping[str, object]:
        assert log.asked_at is not None, "pairs were pushed"
        return {
            "dataset": log.dataset,
            "ended_by": ended_by,
            "answers_needed": tally.needed,
            "answers_missing": tally.missing,
            "seconds_waited": round((datetime.now(UTC) - log.asked_at).total_seconds(), 1),
            "pulls": log.pulls,
        }


def find_left_out(labels: Artifact | None) -> list[str]:
    """Pairs unanswered at the deadline that are not left to other judges either."""
    if labels is None:
        return []
    rows = read_rows(labels.path("asked.parquet"), ["pair_id", "left_out"])
    return sorted(row["pair_id"] for row in rows if row["left_out"])


def _missing(asked: Sequence[str], rows: Sequence[LabelRow]) -> dict[str, int]:
    """Pairs without a verdict, by reason."""
    pairs = [row for row in rows if row["kind"] == "pair"]
    answered = {row["pair_id"] for row in pairs}
    decided = {row["pair_id"] for row in pairs if row["verdict"]}
    reasons = {
        "discarded": sum(pair in answered - decided for pair in asked),
        "unanswered": sum(pair not in answered for pair in asked),
    }
    return {reason: count for reason, count in reasons.items() if count}


def _agreement(rows: Sequence[LabelRow]) -> dict[str, SharedAgreement]:
    return {
        name: SharedAgreement(each.gold.hits, each.gold.n, each.repeats.hits, each.repeats.n)
        for name, each in measure_annotators(rows).items()
    }


def _facts(rows: Sequence[LabelRow], items: Sequence[Item]) -> LabelsFacts:
    """Counts of what was asked and answered."""

    def count(values: Iterable[str]) -> dict[str, int]:
        return dict(sorted(Counter(values).items()))

    gold = [row for row in rows if row["kind"] == "gold" and row["verdict"]]
    return LabelsFacts(
        asked=count(item.hidden.kind for item in items),
        answers=count(row["kind"] for row in rows),
        verdicts=count(row["verdict"] or "discarded" for row in rows),
        by_annotator=count(row["annotator"] for row in rows),
        by_mode=count(row["mode"] for row in rows),
        by_why=count(item.hidden.why for item in items),
        gold_right=sum(row["verdict"] == row["expected"] for row in gold),
        gold_answered=len(gold),
    )
