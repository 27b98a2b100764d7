"""Reports once on rounds that an older Ratchet finished: they stay valid, and which faults of that
version affected them."""

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
"""The step identity of the versions with these faults."""


def report_older_rounds(
    layout: Layout, entries: Sequence[Entry], rounds: int, note: Callable[[str], None]
) -> None:
    """Report the first time that this version opens the campaign."""
    if not entries or any(entry.identity > _WITH_FAULTS for entry in entries):
        return
    finished = list(_find_finished(layout, rounds))
    note(
        "an older version of Ratchet finished these rounds, and they stay valid. From the next "
        "round on, more changes are noticed: in every file of the model, not only its weights; in "
        "modules beside user functions; in the texts of prompts. Finished steps do not notice such "
        "changes made before today; `ratchet run --recompute` computes all steps again"
    )
    for line in describe_faults(finished, any(entry.step == ROLLBACK for entry in entries)):
        note(line)


def describe_faults(finished: Sequence[FinishedRound], rolled_back: bool = False) -> Iterator[str]:
    """A sentence for each fault of older versions, with the rounds that it affected."""
    for fault, affected in _FAULTS.items():
        numbers = [str(each.number) for each in finished if affected(each)]
        if numbers:
            rounds = f"round{'s' * (len(numbers) > 1)} {', '.join(numbers)}"
            yield f"{rounds}, finished by an older version: {fault}"
    back = [
        str(each.number)
        for each in finished
        if rolled_back and (each.facts("gate").get("gate") or {}).get("action") == "rollback"
    ]
    if back:
        yield (
            f"round {', '.join(back)}, finished by an older version: the gate rolled back to the "
            "best round, ignoring a person's rollback"
        )


def _find_finished(layout: Layout, planned: int) -> Iterator[FinishedRound]:
    entries = valid_entries(layout, planned)
    files = {config.round: config.file for config in read_configs(layout, entries)}
    for number, file in files.items():
        steps = {e.step: e for e in entries if e.round == number and e.identity == _WITH_FAULTS}
        if "gate" in steps:
            yield FinishedRound(number, layout, steps, _read_settings(layout, file, number))


def _read_settings(layout: Layout, file: str, number: int) -> Settings:
    """As they were written then; today some of them are rejected."""
    if file == layout.branch.name:
        raw = json.loads(layout.branch.read_text(encoding="utf-8"))["stretches"]
        own: Settings = next(each["config"] for each in raw if number <= each["through"])
        return own
    settings: Settings = yaml.safe_load((layout.root / file).read_text(encoding="utf-8"))
    return settings


def _judges(finished: FinishedRound) -> list[Settings]:
    judge = finished.settings["judge"]
    return list(judge.get("members") or [judge])


def _off_centre(finished: FinishedRound) -> bool:
    several = sum(judge.get("gives") == "score" for judge in _judges(finished)) > 1
    return several and "scores" in finished.steps and bool(finished.steps["scores"].dropped)


def _not_numbers(finished: FinishedRound) -> bool:
    if not any(judge.get("kind") == "reward_model" for judge in _judges(finished)):
        return False
    path = finished.file("scores", "scores.parquet") if "scores" in finished.steps else None
    if path is None or not path.is_file():
        return False
    scores = pq.read_table(path, columns=["score"])["score"].drop_null()
    return not pc.all(pc.is_finite(scores), min_count=0).as_py()


def _chats_warmed_up(finished: FinishedRound) -> bool:
    if finished.number != 1 or finished.settings.get("sft") is None:
        return False
    held = next(finished.layout.round(0).glob("held_out-*/prompts.parquet"), None)
    return held is not None and bool(
        pq.read_table(held, columns=["messages"])["messages"].drop_null()
    )


def _few_decided(finished: FinishedRound) -> bool:
    """Whether it was promoted with less than 90 % of the gate's comparisons decided."""
    outcomes = (
        finished.file("evaluation", "outcomes.parquet") if "evaluation" in finished.steps else None
    )
    if outcomes is None or not finished.facts("gate").get("promoted") or not outcomes.is_file():
        return False
    table = pq.read_table(outcomes, columns=["opponent", "split", "outcome"]).to_pylist()
    compared = [r["outcome"] for r in table if (r["opponent"], r["split"]) == ("previous", "gate")]
    return sum(outcome is not None for outcome in compared) < 0.9 * len(compared)


_FAULTS: Mapping[str, Callable[[FinishedRound], bool]] = {
    "training.wpo gave pairs of loss aot the weights of other pairs": training.weighted_by_others,
    "training.ld_alpha shortened sums that a term of the loss divided by the full length": (
        training.shortened
    ),
    "where a committee's judge abstained, its mean score became a bonus or a penalty": _off_centre,
    "on pairs longer than the model's attention window, training attended to tokens that the model "
    "does not": training.windows_left_out,
    "training gave shorter answers the rotary embedding of longer ones in their batch": (
        training.rope_of_the_batch
    ),
    "several processes trained it after the fast path had failed within the model, and left the "
    "embedding, the last norm, the head and the failing layer unchanged": training.partly_untrained,
    "scores that were not finite became verdicts": _not_numbers,
    "the warm start did not recognise held-out prompts that are chats": (_chats_warmed_up),
    "its policy was promoted with more than a tenth of the gate's comparisons undecided": (
        _few_decided
    ),
}
