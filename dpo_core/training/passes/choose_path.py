"""Chooses the path through a model, and cuts groups into micro-batches."""

import heapq
import logging
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from dpo_core.config import TrainingConfig
from dpo_core.errors import BadInput
from dpo_core.training.pairs.batching import (
    Completions,
    PromptGroup,
    sequence_lengths,
)
from dpo_core.training.passes.entropy import positions_per_pair
from dpo_core.training.passes.fast_path import FastPath
from dpo_core.training.passes.model_size import HEAD_ROWS
from dpo_core.training.passes.pass_over_pairs import Enter, PairPath, PathOptions
from dpo_core.training.passes.plain_path import PlainPath
from dpo_core.training.runtime import Runtime

AGREEMENT = {torch.float32: 5e-4, torch.bfloat16: 0.5}
"""Largest difference of a token's log-prob, nats, at which both paths count as the same function.

In float32 on a CPU the largest observed was 4.2e-5, with random models of all architectures in the
tests, up to 512 wide with 8 layers and 32,000 words, initialised so that log-probs reach -20;
trained policies had at most 2.8e-5. Random attention without a scale had up to 7.8e-4 over long
pairs, but there the plain path differs by 3e-3 from float64.
"""

_PROBE_PAIRS = 2
_PROBE_TOKENS = 32
"""Tokens of each completion: the plain path needs the logits of all of them at once."""
_PROBE_COMPLETIONS = 3
"""Completions of one prompt: the first, and others, which are all treated alike."""

G = TypeVar("G", bound=PromptGroup)

_log = logging.getLogger(__name__)


def choose_path(
    model: Any,
    groups: Sequence[PromptGroup],
    config: TrainingConfig,
    runtime: Runtime,
    enter: Enter | None = None,
    *,
    frozen: bool = False,
) -> tuple[PairPath, str]:
    """Choose a path: (the path, why it is not the fast one, or an empty text).

    The fast path is chosen if it computes the same log-probs as the plain one for the shortest
    groups and the longest. So a model whose attention, positions or head it does not support never
    takes it. enter: gathers the weights of a sharded model, whose processes choose together.
    frozen: nothing is trained. Raises BadInput when the config requires the fast path and the model
    does not support it.
    """
    options: PathOptions = {
        "collisions": config.wpo,
        "entropies_per_pair": positions_per_pair(config.pairs_per_step),
        "enter": enter,
    }
    plain = PlainPath(model, runtime, **options)
    if config.path == "plain":
        return plain, "training.path is plain"
    before = model.config._attn_implementation
    why = _lengths_matter(plain, groups)
    if not why:
        expected = [plain.logps(probe).logps_N for probe in _probes(groups)]
        try:
            fast = FastPath(model, runtime, head_rows=HEAD_ROWS, frozen=frozen, **options)
            actual = [fast.logps(probe).logps_N for probe in _probes(groups)]
            why = _differ(actual, expected, AGREEMENT[runtime.compute_dtype])
            if not why:
                return fast, ""
        except Exception as error:  # whatever a model's own code raises
            why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        model.set_attn_implementation(before)
    why = f"{type(model).__name__} cannot take the fast path: {why}"
    if config.path == "fast":
        raise BadInput(why, "Set training.path: plain, or auto.")
    _log.warning("%s; using the plain path", why)
    return plain, why


def _lengths_matter(plain: PlainPath, groups: Sequence[PromptGroup]) -> str:
    """Why completions cannot share their prompt: positions depend on sequence length. Or empty."""
    if not plain.rope.differ(sequence_lengths(groups)):
        return ""
    return (
        "its rotary embedding depends on sequence length, and some sequences are longer than "
        f"{plain.rope.limit} tokens"
    )


def _probes(groups: Sequence[PromptGroup]) -> Iterator[list[PromptGroup]]:
    """The shortest groups, and the longest sequence, which exceeds every window that matters."""
    shortest = heapq.nsmallest(_PROBE_PAIRS, groups, key=lambda group: (group.tokens, group.id))
    yield [_beginning(group) for group in shortest]
    yield [_end(max(groups, key=lambda g: (len(g.prompt_ids) + g.longest, g.id)))]


def _differ(actual: Sequence[Tensor], expected: Sequence[Tensor], allowed: float) -> str:
    for ours, theirs, which in zip(actual, expected, ("short", "long"), strict=True):
        far = float((ours - theirs).abs().max())
        if not far <= allowed:  # NaN fails, too
            return f"it differs from the plain path by {far:.1e} nats per token on {which} pairs"
    return ""


def _beginning(group: PromptGroup) -> PromptGroup:
    parts = [ids[:_PROBE_TOKENS] for ids in group.completions[:_PROBE_COMPLETIONS]]
    return Completions(group.id, group.prompt_ids, parts)


def _end(group: PromptGroup) -> PromptGroup:
    """The group's longest sequence, most of it as prompt, with the ends of other completions."""
    *others, longest = sorted(group.completions, key=len)[-_PROBE_COMPLETIONS:]
    ids = [*group.prompt_ids, *longest]
    start = max(1, len(ids) - _PROBE_TOKENS)
    ends = [other[-_PROBE_TOKENS:] or ids[start:] for other in others]
    return Completions(group.id, ids[:start], [ids[start:], *ends])


def micro_batches(groups: Sequence[G], path: PairPath, budget: int) -> Iterator[list[G]]:
    """Cut groups, such as the pairs of an optimiser step, into batches of at most `budget` tokens.

    Groups of similar length go together. A group longer than the budget is a batch of its own.
    """
    batch: list[G] = []
    for group in sorted(groups, key=lambda g: (g.tokens, g.id)):
        if batch and path.tokens([*batch, group]) > budget:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch
