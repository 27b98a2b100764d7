"""What values a config's keys take, written down by hand from docs/ and not from the code.

Numbers may be written as text (YAML reads 1e-6 as one); a yes or no is no number.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dpo_core.records import prompt_id
from generation.config import PromptsConfig
from generation.prompts import assign_split

Takes = Callable[[Any], bool]


def number(
    low: float, high: float = math.inf, *, above: bool = False, below: bool = False
) -> Takes:
    """From `low` to `high`; `above` and `below` leave these out."""

    def takes(value: Any) -> bool:
        found = _number(value)
        if found is None:
            return False
        return (found > low or (found == low and not above)) and (
            found < high or (found == high and not below)
        )

    return takes


def whole(low: int) -> Takes:
    def takes(value: Any) -> bool:
        found = _number(value)
        if isinstance(value, str) and not value.lstrip("-").isdigit():
            return False
        return found is not None and found == int(found) and found >= low

    return takes


def one_of(*words: str) -> Takes:
    return lambda value: isinstance(value, str) and value in words


def like(pattern: str) -> Takes:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def or_else(takes: Takes, *others: Any) -> Takes:
    return lambda value: (
        any(value is o or (o is not None and value == o) for o in others) or takes(value)
    )


def flag(value: Any) -> bool:
    """Yes or no, 1 or 0."""
    return isinstance(value, bool | int | float | str) and value in (0, 1, "0", "1")


def text(value: Any) -> bool:
    return isinstance(value, str)


def texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


POOL = [f"What is {n}?" for n in range(60)]
"""Enough for each split to have some."""

_COUNT, _SHARE, _POSITIVE = whole(1), number(0, 1), number(0, above=True)
KEYS: Mapping[str, Takes] = {
    "seed": whole(0),
    "rounds": _COUNT,
    "threads": or_else(_COUNT, "auto"),
    "sampling.engine": one_of("vllm", "transformers"),
    "sampling.temperature": _POSITIVE,
    "sampling.top_p": number(0, 1, above=True),
    "sampling.dtype": one_of("auto", "float32", "bfloat16", "float16"),
    "sampling.shard_prompts": _COUNT,
    "sampling.keep_worker": one_of("auto", "campaign", "step"),
    "sampling.gpu_memory_utilization": number(0, 1, above=True),
    "sampling.max_tokens": _COUNT,
    "sampling.max_model_len": or_else(_COUNT, None),
    "sampling.samples_per_prompt": whole(2),
    "prompts.per_round": _COUNT,
    "prompts.reuse": flag,
    "prompts.gate_share": number(0.05, 1),  # less leaves none of sixty prompts
    "prompts.test_share": number(0.05, 1),
    "pairs.strategy": one_of("best_worst", "best_random", "best_second"),
    "pairs.truncated": one_of("drop", "avoid", "keep"),
    "pairs.min_margin": number(0),
    "aggregation.method": one_of("auto", "majority", "dawid_skene"),
    "aggregation.min_overlap": _COUNT,
    "aggregation.reliable_at": _SHARE,
    "aggregation.drift_alarm": number(0, 1, above=True),
    "audit.max_dropped_share": _SHARE,
    "audit.max_length_ratio": number(1),
    "audit.overlap_words": _COUNT,
    "training.beta": _POSITIVE,
    "training.label_smoothing": number(0, 0.5, below=True),
    "training.nll_weight": number(0),
    "training.wpo": flag,
    "training.learning_rate": or_else(number(0, 0.1, above=True), "auto"),
    "training.schedule": one_of("constant", "linear", "cosine"),
    "training.warmup_steps": or_else(whole(0), None),
    "training.pairs_per_step": or_else(_COUNT, "auto"),
    "training.micro_batch_tokens": or_else(_COUNT, "auto"),
    "training.path": one_of("auto", "fast", "plain"),
    "training.epochs": _COUNT,
    "training.max_grad_norm": _POSITIVE,
    "training.weight_decay": number(0),
    "training.kl_budget_nats": or_else(_POSITIVE, None),
    "training.gradient_checkpointing": flag,
    "storage.url": or_else(like(r"(s3|gs)://[^/@?#]+(/[^@?#]*)?|file:///[^@?#]+"), None),
    "storage.checkpoints": flag,
    "storage.lease_s": number(1),
    "training.processes": or_else(_COUNT, "auto"),
    "training.torchrun": texts,
    "compute.kind": one_of("local", "ray"),
    "compute.address": or_else(like("[^ :/]+:[0-9]{1,5}"), None),
    "compute.place_timeout_s": _POSITIVE,
    "compute.attempts": _COUNT,
    "compute.nodes": _COUNT,
    "compute.cache_dir": or_else(like("/.+"), None),
    "evaluation.gate_prompts": or_else(_COUNT, "auto"),
    "evaluation.samples_per_prompt": _COUNT,
    "evaluation.confidence": number(0, 1, above=True, below=True),
    "evaluation.bootstrap_resamples": _COUNT,
    "evaluation.opponents": one_of("previous", "all"),
    "evaluation.training_judge": flag,
    "evaluation.slices": texts,
    "gate.win_rate": one_of("plain", "length_controlled"),
    "gate.threshold": _SHARE,
    "gate.otherwise": one_of("keep", "rollback", "ask", "stop"),
    "stop.rounds": or_else(_COUNT, None),
    "stop.hours": or_else(_POSITIVE, None),
    "schedule.rounds": _COUNT,
    "schedule.timezone": or_else(one_of("UTC", "Europe/Berlin"), None),
    "retries.sample": whole(0),
    "retries.train": whole(0),
    "retries.delay_s": number(0),
    "prices.currency": like("[A-Za-z€$£¥]{1,8}"),
    "prices.gpu_hour": or_else(number(0), None),
    "judge.weight": _POSITIVE,
    "judge.gives": one_of("score"),
    "judge.function": one_of("bad_input_judge:score"),
    # Whether a function that is there builds a model is known when it is called.
    "policy.build": one_of("examples.reviews.model:build", "bad_input_judge:score"),
    "prompts.path": one_of("prompts.jsonl"),
    "name": like("[A-Za-z0-9][A-Za-z0-9._-]*"),
}

VALUES: tuple[Any, ...] = (
    *(0, 1, 2, 3, 255, 256, 257, 1000, -1),
    *(0.0, 0.1, 0.5, 0.9, 1.0, 1.5, -0.5, 1e-6, math.nan, math.inf),
    *("1", "3", "1e-6", "0.5", "-1", "", "abc", "auto", "UTC", "EUR", "score", "none", "12"),
    *("prompts.jsonl", "bad_input_judge:score", "bad_input_judge:scor", "/no/such/file", "a: b"),
    *(True, False, None, [], ["a"], [1], {}, {"a": 1}, [[]]),
)


def given(config: Mapping[str, Any], key: str, default: Any) -> Any:
    section, _, last = key.rpartition(".")
    found = config.get(section, {}) if section else config
    return found.get(last, default)


def conflicts(config: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The keys that cannot stand together, each of them possible alone."""
    longest = given(config, "sampling.max_model_len", None)
    tokens = given(config, "sampling.max_tokens", 256)
    if longest is not None and float(longest) <= float(tokens):
        yield ("sampling.max_model_len", "sampling.max_tokens")
    gate, test = (float(given(config, f"prompts.{name}_share", 0.1)) for name in ("gate", "test"))
    if gate + test >= 1:
        yield ("prompts.gate_share", "prompts.test_share")
        return
    splits = PromptsConfig(path="", gate_share=gate, test_share=test)
    found = Counter(assign_split(prompt_id(text, None), splits) for text in POOL)
    most = {"train": "prompts.per_round", "gate": "evaluation.gate_prompts"}
    for split, key in most.items():
        reused = split == "gate" or given(config, "prompts.reuse", True) not in (0, "0")
        wanted = _number(given(config, key, None))
        if reused and wanted is not None and wanted > found[split]:
            yield (key,)


def wrong(config: Mapping[str, Any], keys: list[str]) -> list[str]:
    """Names of the keys among `keys` that make the config impossible."""
    alone = [key for key in keys if not KEYS[key](given(config, key, None))]
    return alone or [key for together in conflicts(config) for key in together]
