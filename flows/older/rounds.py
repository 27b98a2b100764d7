"""What a campaign is told once of the rounds that an older Ratchet finished: that they stay as they
are, and which of them used something that was wrong then."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from dpo_core.campaign.facts import valid_entries
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.rollbacks import ROLLBACK
from flows.config.versions import read_configs
from flows.older import training
from flows.older.training import FinishedRound, Settings

_WITH_FAULTS = 1
"""The identity of the versions that had them; what came after it is no news to a user."""


def report_older_rounds(
    layout: Layout, entries: Sequence[Entry], rounds: int, say: Callable[[str], None]
) -> None:
    """Say it, the first time that this version comes to the campaign."""
    if not entries or any(entry.identity > _WITH_FAULTS for entry in entries):
        return
    found = list(_finished(layout, rounds))
    say(
        "an older version of Ratchet made what is here, and it stays as it is. From the next round "
        "on more counts: every file of the model and not its weights alone, modules beside user "
        "functions, the texts of prompts. Changes of those that were made before today are not "
        "noticed in finished steps; `ratchet run --recompute` makes all of them anew"
    )
    for line in describe_faults(found, any(entry.step == ROLLBACK for entry in entries)):
        say(line)


def describe_faults(found: Sequence[FinishedRound], rolled_back: bool = False) -> Iterator[str]:
    """A sentence for each fault of older versions that finished rounds had, with these rounds."""
    for says, had in _FAULTS.items():
        numbers = [str(one.number) for one in found if had(one)]
        if numbers:
            rounds = f"round{'s' * (len(numbers) > 1)} {', '.join(numbers)}"
            yield f"{rounds}, finished by an older version: {says}"
    back = [str(one.number) for one in found if rolled_back and _went_back(one)]
    if back:
        yield (
            f"round {', '.join(back)}, finished by an older version: the gate chose the best round "
            "without regard to a person's rollback"
        )


def _finished(layout: Layout, planned: int) -> Iterator[FinishedRound]:
    entries = valid_entries(layout, planned)
    files = {found.round: found.file for found in read_configs(layout, entries)}
    for number, file in files.items():
        steps = {e.step: e for e in entries if e.round == number and e.identity == _WITH_FAULTS}
        if "gate" in steps:
            yield FinishedRound(number, layout, steps, _settings(layout, file, number))


def _settings(layout: Layout, file: str, number: int) -> Settings:
    """As they were written then: some of them are refused today."""
    if file == layout.branch.name:
        raw = json.loads(layout.branch.read_text(encoding="utf-8"))["stretches"]
        own: Settings = next(each["config"] for each in raw if number <= each["through"])
        return own
    found: Settings = yaml.safe_load((layout.root / file).read_text(encoding="utf-8"))
    return found


def _judges(found: FinishedRound) -> list[Settings]:
    judge = found.settings["judge"]
    return list(judge.get("members") or [judge])


def _off_centre(found: FinishedRound) -> bool:
    several = sum(judge.get("gives") == "score" for judge in _judges(found)) > 1
    return several and "scores" in found.steps and bool(found.steps["scores"].dropped)


def _not_numbers(found: FinishedRound) -> bool:
    if not any(judge.get("kind") == "reward_model" for judge in _judges(found)):
        return False
    path = found.file("scores", "scores.parquet") if "scores" in found.steps else None
    if path is None or not path.is_file():
        return False
    scores = pq.read_table(path, columns=["score"])["score"].drop_null()
    return not pc.all(pc.is_finite(scores), min_count=0).as_py()


def _chats_warmed_up(found: FinishedRound) -> bool:
    if found.number != 1 or found.settings.get("sft") is None:
        return False
    held = next(found.layout.round(0).glob("held_out-*/prompts.parquet"), None)
    return held is not None and bool(
        pq.read_table(held, columns=["messages"])["messages"].drop_null()
    )


def _few_decided(found: FinishedRound) -> bool:
    """A promotion for which fewer than nine tenths of the gate's comparisons were decided."""
    outcomes = found.file("evaluation", "outcomes.parquet") if "evaluation" in found.steps else None
    if outcomes is None or not found.facts("gate").get("promoted") or not outcomes.is_file():
        return False
    table = pq.read_table(outcomes, columns=["opponent", "split", "outcome"]).to_pylist()
    asked = [r["outcome"] for r in table if (r["opponent"], r["split"]) == ("previous", "gate")]
    return sum(one is not None for one in asked) < 0.9 * len(asked)


def _went_back(found: FinishedRound) -> bool:
    return (found.facts("gate").get("gate") or {}).get("action") == "rollback"


_FAULTS: Mapping[str, Callable[[FinishedRound], bool]] = {
    "training.wpo gave the pairs of loss aot other pairs' weights": training.weighted_by_others,
    "training.ld_alpha shortened sums that a term of the loss divided by the whole length": (
        training.shortened
    ),
    "where a judge of the committee abstained, its mean became a bonus or a penalty": _off_centre,
    "on pairs longer than the model's attention window, training attended to other tokens than the "
    "model does": training.windows_left_out,
    "training gave shorter answers the rotary embedding of longer ones beside them": (
        training.rope_of_the_batch
    ),
    "several processes trained it after the fast path had failed within the model, and embedding, "
    "last norm, head and the layer that failed stayed as they were": training.partly_untrained,
    "scores that were no finite numbers became verdicts": _not_numbers,
    "held-out prompts that are chats were not recognised in the texts of the warm start": (
        _chats_warmed_up
    ),
    "its policy was promoted although more than a tenth of the gate's comparisons were undecided": (
        _few_decided
    ),
}
