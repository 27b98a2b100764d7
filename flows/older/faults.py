"""Rounds that an older Ratchet finished: a report that they stay valid, and which faults of that
version affected them."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from dpo_core.campaign.facts import valid_entries
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.rollbacks import ROLLBACK
from dpo_core.training.results import TrainingFacts
from flows.config.raw import RawConfig
from flows.config.versions import read_configs


@dataclass(frozen=True)
class FinishedRound:
    """A round that an older version finished, with its steps by name and its config, which has all
    keys."""

    number: int
    layout: Layout
    steps: Mapping[str, Entry]
    settings: RawConfig

    def file(self, step: str, name: str) -> Path:
        entry = self.steps[step]
        return self.layout.step(self.number, step, entry.fingerprint) / name

    def facts(self, step: str) -> Mapping[str, object]:
        return self.steps[step].facts if step in self.steps else {}

    @property
    def training(self) -> TrainingFacts:
        return TrainingFacts.read(self.facts("training"))


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
    back = [str(each.number) for each in finished if rolled_back and _action(each) == "rollback"]
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


def _action(finished: FinishedRound) -> object:
    gate = finished.facts("gate").get("gate")
    return gate.get("action") if isinstance(gate, dict) else None


def _read_settings(layout: Layout, file: str, number: int) -> RawConfig:
    """As they were written then; today some of them are rejected."""
    if file == layout.branch.name:
        raw = json.loads(layout.branch.read_text(encoding="utf-8"))["stretches"]
        return RawConfig(next(each["config"] for each in raw if number <= each["through"]))
    return RawConfig(yaml.safe_load((layout.root / file).read_text(encoding="utf-8")))


def _judges(finished: FinishedRound) -> list[Mapping[str, object]]:
    judge = finished.settings.get("judge")
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


_WINDOWS_IN_THE_MASK = {"qwen2_moe", "phimoe", "olmoe", "doge"}
"""Models whose layers did not get their window; OLMoE's got one that its mask lacks."""
_TOKENS = ["completion_id", "prompt_token_ids", "token_ids"]
_ROWS = 512
"""Rows of a completions file in memory at a time."""


def weighted_by_others(finished: FinishedRound) -> bool:
    """Whether losses were sorted and WPO's weights were not."""
    training = finished.settings.values["training"]
    return bool(training["wpo"]) and training["loss"] in ("aot", "aot_unpaired")


def shortened(finished: FinishedRound) -> bool:
    """Whether LD-DPO's sums were divided by the full length."""
    training = finished.settings.values["training"]
    whole = training["loss"] in ("sft", "orpo", "simpo", "ipo", "sigmoid_norm")
    alpha = training["ld_alpha"]
    return alpha is not None and alpha < 1 and (whole or training["nll_weight"] > 0)


def windows_left_out(finished: FinishedRound) -> bool:
    """Whether the fast path ignored the model's attention window."""
    shape = _shape(finished)
    if finished.training.path != "fast":
        return False
    kind, window = shape.get("model_type"), shape.get("sliding_window")
    if kind not in _WINDOWS_IN_THE_MASK or not isinstance(window, int) or not window:
        return False
    has_windows = kind != "qwen2_moe" or shape.get("use_sliding_window")
    return bool(has_windows) and _longest_sequence(finished) > window


def rope_of_the_batch(finished: FinishedRound) -> bool:
    """Whether rotary frequencies depended on the longest sequence of the batch."""
    limit = min(_rope_limits(_shape(finished)), default=None)
    return limit is not None and _longest_sequence(finished) > limit


def partly_untrained(finished: FinishedRound) -> bool:
    """Whether several processes trained while weights were still gathered that the failed fast path
    had requested: the optimiser updated these copies and not the weights.

    A pass without gradients releases them, so this needs a round without one in between.
    """
    facts = finished.training
    failed = re.search(r"cannot take the fast path: \w+:", facts.why_not_fast)
    if not failed or facts.processes == 1 or facts.path != "plain":
        return False
    if "its attention cannot be selected by name" in facts.why_not_fast:
        return False  # this is noticed after the model has run to its end
    return facts.resumed_from_step > 0 or not _ran_before_training(finished)


def _ran_before_training(finished: FinishedRound) -> bool:
    """Whether log-probs were computed before the first step, for reference or as a check."""
    facts = finished.training
    if facts.from_sampling_checked:
        return True
    if facts.reference_policy == finished.steps["training"].inputs["policy"]:
        return facts.reference_source == "pass"
    return facts.sampling_gap is not None


def _shape(finished: FinishedRound) -> Mapping[str, object]:
    """The model's config, or the base's if the round's weights were pruned; empty without both."""
    name = "policy/config.json"
    own = [finished.file("training", name)] if "training" in finished.steps else []
    bases = list(finished.layout.round(0).glob(f"base-*/{name}"))
    if len(bases) == 1:
        own += bases
    path = next((path for path in own if path.is_file()), None)
    return {} if path is None else json.loads(path.read_text(encoding="utf-8"))


def _rope_limits(shape: Mapping[str, object]) -> Iterator[int]:
    """Tokens up to which all sequences have the same frequencies."""
    rope = shape.get("rope_parameters") or shape.get("rope_scaling")
    if not isinstance(rope, Mapping):
        return
    by_layer = [options for options in rope.values() if isinstance(options, Mapping)]
    for options in by_layer or [rope]:
        kind = options.get("rope_type") or options.get("type") or ""
        whole = shape.get("max_position_embeddings")
        if kind == "longrope":
            original = "original_max_position_embeddings"
            whole = options.get(original) or shape.get(original) or whole
        elif "dynamic" not in kind:
            continue
        if isinstance(whole, int) and whole:
            yield whole


def _longest_sequence(finished: FinishedRound) -> int:
    """Tokens of the longest prompt and answer that was trained on; 0 where the files are gone."""
    preferences, completions = (_trained_on(finished, n) for n in ("preferences", "completions"))
    if preferences is None or completions is None:
        return 0
    sides = pq.read_table(preferences, columns=["chosen", "rejected"])
    named = pa.chunked_array([*sides["chosen"].chunks, *sides["rejected"].chunks]).unique()
    longest = 0
    with pq.ParquetFile(completions) as file:
        for batch in file.iter_batches(_ROWS, columns=_TOKENS, use_threads=False):
            rows = batch.filter(pc.is_in(batch["completion_id"], value_set=named))
            lengths = pc.add(*(pc.list_value_length(rows[name]) for name in _TOKENS[1:]))
            longest = max(longest, pc.max(lengths).as_py() or 0)
    return longest


def _trained_on(finished: FinishedRound, name: str) -> Path | None:
    """The file that was this input of training; None where it is gone."""
    contents = finished.steps["training"].inputs.get(name)
    paths = (
        finished.file(step, output)
        for step, entry in finished.steps.items()
        for output, sha256 in entry.outputs.items()
        if sha256 == contents
    )
    return next((path for path in paths if path.is_file()), None)


_FAULTS: Mapping[str, Callable[[FinishedRound], bool]] = {
    "training.wpo gave pairs of loss aot the weights of other pairs": weighted_by_others,
    "training.ld_alpha shortened sums that a term of the loss divided by the full length": (
        shortened
    ),
    "where a committee's judge abstained, its mean score became a bonus or a penalty": _off_centre,
    "on pairs longer than the model's attention window, training attended to tokens that the model "
    "does not": windows_left_out,
    "training gave shorter answers the rotary embedding of longer ones in their batch": (
        rope_of_the_batch
    ),
    "several processes trained it after the fast path had failed within the model, and left the "
    "embedding, the last norm, the head and the failing layer unchanged": partly_untrained,
    "scores that were not finite became verdicts": _not_numbers,
    "the warm start did not recognise held-out prompts that are chats": _chats_warmed_up,
    "its policy was promoted with more than a tenth of the gate's comparisons undecided": (
        _few_decided
    ),
}
