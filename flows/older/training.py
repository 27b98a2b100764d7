"""What was wrong in trainings of older versions, and which rounds it met."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry

Settings = Mapping[str, Any]
"""A config as its file has it, all keys written out."""


@dataclass(frozen=True)
class FinishedRound:
    """A round that an older version finished: its steps by name, and the config that it had."""

    number: int
    layout: Layout
    steps: Mapping[str, Entry]
    settings: Settings

    def file(self, step: str, name: str) -> Path:
        entry = self.steps[step]
        return self.layout.step(self.number, step, entry.fingerprint) / name

    def facts(self, step: str) -> Mapping[str, Any]:
        return self.steps[step].facts if step in self.steps else {}


_WINDOWS_IN_THE_MASK = {"qwen2_moe", "phimoe", "olmoe", "doge"}
"""Whose layers were not told of their window; OLMoE's were told of one that its mask has not."""
_TOKENS = ["completion_id", "prompt_token_ids", "token_ids"]
_ROWS = 512
"""Rows of a completions file in memory at a time."""


def weighted_by_others(found: FinishedRound) -> bool:
    """Whether losses were in sorted order and WPO's weights in that of the pairs."""
    training = found.settings["training"]
    return bool(training["wpo"]) and training["loss"] in ("aot", "aot_unpaired")


def shortened(found: FinishedRound) -> bool:
    """Whether LD-DPO's sums stood in a term that divides by the whole length."""
    training = found.settings["training"]
    whole = training["loss"] in ("sft", "orpo", "simpo", "ipo", "sigmoid_norm")
    alpha = training["ld_alpha"]
    return alpha is not None and alpha < 1 and (whole or training["nll_weight"] > 0)


def windows_left_out(found: FinishedRound) -> bool:
    """Whether the fast path attended to other tokens than the model does."""
    shape = _shape(found)
    if found.facts("training").get("path") != "fast":
        return False
    kind, window = shape.get("model_type"), shape.get("sliding_window")
    if kind not in _WINDOWS_IN_THE_MASK or not window:
        return False
    has_windows = kind != "qwen2_moe" or shape.get("use_sliding_window")
    return bool(has_windows) and _longest_sequence(found) > window


def rope_of_the_batch(found: FinishedRound) -> bool:
    """Whether positions depended on the longest sequence that stood beside a pair."""
    limit = min(_rope_limits(_shape(found)), default=None)
    return limit is not None and _longest_sequence(found) > limit


def partly_untrained(found: FinishedRound) -> bool:
    """Whether several processes began to train while weights stood gathered that the fast path had
    asked for when it failed: the optimiser moved these copies and not the weights.

    A pass without gradients puts them away, so it takes a round in which none came in between.
    """
    facts = found.facts("training")
    failed = re.search(r"cannot take the fast path: \w+:", facts.get("why_not_fast", ""))
    if not failed or facts.get("processes", 1) == 1 or facts.get("path") != "plain":
        return False
    if "its attention cannot be selected by name" in facts["why_not_fast"]:
        return False  # which is said after the model has run to its end
    return facts.get("resumed_from_step", 0) > 0 or not _asked_before_training(found)


def _asked_before_training(found: FinishedRound) -> bool:
    """Whether the policy told log-probs before the first step: the reference's, or some to compare
    with those of the sampler."""
    facts = found.facts("training")
    if facts.get("from_sampling_checked"):
        return True
    if facts.get("reference_policy") == found.steps["training"].inputs["policy"]:
        return bool(facts.get("reference_source") == "pass")
    return facts.get("sampling_gap") is not None


def _shape(found: FinishedRound) -> Mapping[str, Any]:
    """The model's config, which is the base's where the round's weights were removed to save space;
    empty where neither is there."""
    name = "policy/config.json"
    own = [found.file("training", name)] if "training" in found.steps else []
    bases = list(found.layout.round(0).glob(f"base-*/{name}"))
    if len(bases) == 1:
        own += bases
    path = next((path for path in own if path.is_file()), None)
    return {} if path is None else json.loads(path.read_text(encoding="utf-8"))


def _rope_limits(shape: Mapping[str, Any]) -> Iterator[int]:
    """Tokens up to which sequences of any length have the same frequencies."""
    rope = shape.get("rope_parameters") or shape.get("rope_scaling") or {}
    of_layers = [each for each in rope.values() if isinstance(each, Mapping)]
    for options in of_layers or [rope]:
        kind = options.get("rope_type") or options.get("type") or ""
        whole = shape.get("max_position_embeddings")
        if kind == "longrope":
            original = "original_max_position_embeddings"
            whole = options.get(original) or shape.get(original) or whole
        elif "dynamic" not in kind:
            continue
        if whole:
            yield whole


def _longest_sequence(found: FinishedRound) -> int:
    """Tokens of the longest prompt with its answer that was trained on; 0 where the files of the
    pairs are gone."""
    preferences, completions = (_trained_on(found, n) for n in ("preferences", "completions"))
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


def _trained_on(found: FinishedRound, name: str) -> Path | None:
    """The file that was this input of the training; None where it is gone."""
    contents = found.steps["training"].inputs.get(name)
    places = (
        found.file(step, output)
        for step, entry in found.steps.items()
        for output, made in entry.outputs.items()
        if made == contents
    )
    return next((place for place in places if place.is_file()), None)
