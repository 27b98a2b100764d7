"""Step `labels`: what people say about the pairs that they are asked about.

It pushes the pairs, collects what is answered, and either goes on or lets go: then it raises
WaitingForPeople and holds nothing, and the next run comes back to the same point.
"""

import secrets
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_core.campaign.store import Artifact, Made
from dpo_core.errors import ConfigError, LabelServerFailed, LabelsError, WaitingForPeople
from dpo_core.hashing import content_id, file_sha256
from dpo_core.records import LABELS, Judgement, Pair
from dpo_core.tables import read_columns, read_rows, write_rows
from flows.session import Session
from flows.steps.judge import read_pairs
from flows.waiting import (
    Waiting,
    clear_waiting,
    deadline_of,
    is_over,
    server_access,
    write_waiting,
)
from labeling.judges.config import asks_people
from labeling.pairs.for_people import (
    Candidate,
    Plan,
    choose_for_people,
    policy_uncertainty,
    split_budget,
)
from labeling.people.answers import Answer, Tally, label_rows, latest
from labeling.people.config import PeopleConfig
from labeling.people.gold import read_gold
from labeling.people.log import LabelLog, RoundLog
from labeling.people.task import Asking, Item, joint_opinion, pick_gold, plan_items

if TYPE_CHECKING:
    from labeling.people.asking import Task

GUIDELINES = """Read the prompt, then both responses, and say which one you would rather have got.

- **A** or **B**: that response is better.
- **Tie**: both are good, and neither is better.
- **Both bad**: neither should have been given.

Judge what the responses say, not how long they are. A response that stops in the middle is worse
than one that ends. Discard what you cannot judge."""

GUIDELINES_CHARACTERS = 10_000
_WAITING_ONLY = {"quorum", "deadline_hours", "at_deadline", "poll_s", "server_dir", "workspace"}


def ask_people(
    session: Session,
    number: int,
    pairs: Artifact,
    judgements: Artifact,
    completions: Artifact,
    prompts: Artifact,
) -> Artifact | None:
    """The labels of the round; None where the judge asks nobody.

    Raises WaitingForPeople until the quorum is reached or the deadline has passed.
    """
    if not asks_people(session.config.judge):
        return None
    asking = _Round(session, number, (pairs, judgements, completions, prompts))
    inputs = {
        "pairs": pairs.hash("pairs.parquet"),
        "judgements": judgements.hash("judgements.parquet"),
        "completions": completions.hash("completions.parquet"),
    }
    if asking.people.gold is not None:
        inputs["gold"] = file_sha256(Path(asking.people.gold))
    return session.step(number, "labels", asking.make, config=asking.recipe(), inputs=inputs)


class _Round:
    """One round's asking, from the pairs to the labels."""

    def __init__(self, session: Session, number: int, artifacts: tuple[Artifact, ...]) -> None:
        self.session = session
        self.number = number
        self.artifacts = artifacts
        self.people: PeopleConfig = session.config.asked
        self.seed = session.seed("labels", number)
        self.log = LabelLog(session.layout.labels(number))
        self.guidelines = read_guidelines(self.people.guidelines)

    def recipe(self) -> dict[str, Any]:
        """What decides which records are asked, and which answers are let in."""
        people = self.people.model_dump(mode="json", exclude={*_WAITING_ONLY, "gold"})
        budget = self.session.config.budget.model_dump(mode="json")
        pulls = self.log.read().pulls
        return {**people, **budget, "guidelines": self.guidelines, "seed": self.seed, "pulls": pulls}

    def make(self, folder: Path) -> Made:
        items = self._items()
        log, url = self._ask(items)
        answers = latest(log.answers.values())
        tally = self._task(items).tally(log)
        ended_by = self._ended_by(tally, log)
        if ended_by is None:
            raise self._waiting(tally, log, url)
        clear_waiting(self.session.layout)
        asked = [log.asked[item.record_id] for item in items]
        rows = list(label_rows(asked, answers))
        write_rows(folder / "labels.parquet", rows, LABELS)
        ids = [record.pair_id for record in asked if record.kind == "pair"]
        missing = _missing(ids, rows)
        return Made(
            len(ids),
            len(ids) - sum(missing.values()),
            missing,
            facts={**_facts(rows, items), **self._waited(log, tally, ended_by)},
        )

    def _items(self) -> list[Item]:
        pairs, judgements, completions, prompts = self.artifacts
        config, people = self.session.config, self.people
        read = {pair.pair_id: pair for pair in read_pairs(pairs, completions, prompts)}
        judged = _judgements(judgements)
        gold = read_gold(Path(people.gold)) if people.gold is not None else []
        split = split_budget(people, config.budget, pairs=len(read), gold=len(gold))
        plan = Plan(split.pairs, self.seed, people.choose, people.calibration_share)
        candidates = _candidates(pairs, completions, read, judged)
        chosen = choose_for_people(candidates, plan)
        opinions = {p: opinion for p in read if (opinion := joint_opinion(judged.get(p, ())))}
        sources = sorted({row["source"] for row in read_rows(judgements.path(_JUDGED), ["source"])})
        asking = Asking(self.number, self.seed, people.mode, opinions, ", ".join(sources))
        asked = [(read[c.pair_id], c.why) for c in chosen]
        return plan_items(asking, asked, pick_gold(gold, split.gold, self.seed), split.repeats)
