"""Faults in the training of older versions, and which rounds they affected."""

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
"""A config as in its file, with all keys."""


@dataclass(frozen=True)
class FinishedRound:
    """A round that an older version finished, with its steps by name and its config."""

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
"""Models whose layers did not get their window; OLMoE's got one that its mask lacks."""
_TOKENS = ["completion_id", "prompt_token_ids", "token_ids"]
_ROWS = 512
"""Rows of a completions file in memory at a time."""


def weighted_by_others(finished: FinishedRound) -> bool:
    """Whether losses were sorted and WPO's weights were not."""
    training = finished.settings["training"]
    return bool(training["wpo"]) and training["loss"] in ("aot", "aot_unpaired")


def shortened(finished: FinishedRound) -> bool:
    """Whether LD-DPO's sums were divided by the full length."""
    training = finished.settings["training"]
    whole = training["loss"] in ("sft", "orpo", "simpo", "ipo", "sigmoid_norm")
    alpha = training["ld_alpha"]
    return alpha is not None and alpha < 1 and (whole or training["nll_weight"] > 0)


def windows_left_out(finished: FinishedRound) -> bool:
    """Whether the fast path ignored the model's attention window."""
    shape = _shape(finished)
    if finished.facts("training").get("path") != "fast":
        return False
    kind, window = shape.get("model_type"), shape.get("sliding_window")
    if kind not in _WINDOWS_IN_THE_MASK or not window:
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
    facts = finished.facts("training")
    failed = re.search(r"cannot take the fast path: \w+:", facts.get("why_not_fast", ""))
    if not failed or facts.get("processes", 1) == 1 or facts.get("path") != "plain":
        return False
    if "its attention cannot be selected by name" in facts["why_not_fast"]:
        return False  # this is noticed after the model has run to its end
    return facts.get("resumed_from_step", 0) > 0 or not _ran_before_training(finished)


def _ran_before_training(finished: FinishedRound) -> bool:
    """Whether log-probs were computed before the first step, for reference or as a check."""
    facts = finished.facts("training")
    if facts.get("from_sampling_checked"):
        return True
    if facts.get("reference_policy") == finished.steps["training"].inputs["policy"]:
        return bool(facts.get("reference_source") == "pass")
    return facts.get("sampling_gap") is not None


def _shape(finished: FinishedRound) -> Mapping[str, Any]:
    """The model's config, or the base's if the round's weights were pruned; empty without both."""
    name = "policy/config.json"
    own = [finished.file("training", name)] if "training" in finished.steps else []
    bases = list(finished.layout.round(0).glob(f"base-*/{name}"))
    if len(bases) == 1:
        own += bases
    path = next((path for path in own if path.is_file()), None)
    return {} if path is None else json.loads(path.read_text(encoding="utf-8"))


def _rope_limits(shape: Mapping[str, Any]) -> Iterator[int]:
    """Tokens up to which all sequences have the same frequencies."""
    rope = shape.get("rope_parameters") or shape.get("rope_scaling") or {}
    by_layer = [options for options in rope.values() if isinstance(options, Mapping)]
    for options in by_layer or [rope]:
        kind = options.get("rope_type") or options.get("type") or ""
        whole = shape.get("max_position_embeddings")
        if kind == "longrope":
            original = "original_max_position_embeddings"
            whole = options.get(original) or shape.get(original) or whole
        elif "dynamic" not in kind:
            continue
        if whole:
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
        for output, made in entry.outputs.items()
        if made == contents
    )
    return next((path for path in paths if path.is_file()), None)
