"""The output head: log-probs of completion tokens and their gradients, in chunks of logits.

T tokens of the packed row, N completion tokens, H hidden width, V vocabulary, C rows of one chunk,
R rows of logits that may exist at a time. A chunk holds whole pairs, so a pair's loss and the
gradient of its logits are known while the logits are in memory. Each chunk is computed once, unless
it is a single pair with more than R rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpo_core.training.passes import entropy
from dpo_core.training.passes.packing import PackedRow, Segment
from dpo_core.training.passes.pass_over_pairs import TokenLogps

ChunkSlopes = Callable[[slice, TokenLogps], Tensor]
"""slopes(pairs, tokens) -> (C,) derivatives of the step's loss with respect to the log-probs of the
completion tokens of this slice of the pairs."""

_CACHED_VALUES = 2**18
"""float32 values processed several times in a row: 1 MiB, half of a core's cache."""

_NARROW_WORDS = 2**13
"""Vocabulary entries of a part: as fast as all at once, with a sixth of SmolLM2's buffers."""

_Part = tuple[Tensor, Tensor, Tensor]
"""Some completion tokens: hidden states (C, H), targets (C,), watched for entropy (C,)."""


@dataclass(frozen=True)
class Head:
    """The output layer of a causal language model: weight (V, H), bias (V,) or none.

    softcap: logits are squeezed into (−softcap, softcap) by tanh, as in Gemma 2.
    scale: factor of the logits, as in Cohere's and Granite's models.
    dtype: of the products; sums over the vocabulary are float32.
    room_RV: reused float32 memory for logits: touching fresh pages can take as long as the product
    that fills them.
    collisions: whether to compute log Σ_v π(v)² as well.
    """

    weight: Tensor
    bias: Tensor | None
    softcap: float | None
    scale: float
    dtype: torch.dtype
    room_RV: Tensor
    collisions: bool = False

    @classmethod
    def from_model(
        cls, model: Any, dtype: torch.dtype, room_RV: Tensor, *, collisions: bool
    ) -> "Head":
        """The head of a transformers model."""
        layer, config = model.get_output_embeddings(), model.config.get_text_config()
        softcap = getattr(config, "final_logit_softcapping", None)
        scale = getattr(config, "logit_scale", None) or 1 / getattr(config, "logits_scaling", 1)
        bias = getattr(layer, "bias", None)
        return cls(layer.weight, bias, softcap, float(scale), dtype, room_RV, collisions)

    @property
    def rows(self) -> int:
        """R, rows of logits that may exist at a time."""
        return len(self.room_RV)

    def logits(self, hidden_CH: Tensor, weight_VH: Tensor) -> Tensor:
        """(C, V) float32 logits in the head's room. weight_VH: the weight in `dtype`."""
        logits_CV = self.room_RV[: len(hidden_CH)]
        if self.dtype == logits_CV.dtype:
            torch.mm(hidden_CH, weight_VH.T, out=logits_CV)
        else:
            for words in _narrow_words(weight_VH):
                logits_CV[:, words].copy_(hidden_CH @ weight_VH[words].T)
        if self.bias is not None:
            logits_CV += self.bias
        if self.scale != 1:
            logits_CV *= self.scale
        if self.softcap is not None:
            logits_CV.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits_CV

    def exponentiate(
        self, logits_CV: Tensor, targets: Tensor, watched: Tensor
    ) -> tuple[TokenLogps, Tensor]:
        """Turn logits into exponentials in place; returns (log-probs of targets, (C,) row sums).

        watched: (C,) on the CPU, rows whose entropy is measured.
        """
        target_C = logits_CV.gather(1, targets[:, None])[:, 0]
        largest_C, sums_C = torch.empty_like(target_C), torch.empty_like(target_C)
        for rows in _blocks(logits_CV):
            block_RV = logits_CV[rows]
            torch.amax(block_RV, -1, out=largest_C[rows])
            block_RV.sub_(largest_C[rows, None]).exp_()
            torch.sum(block_RV, -1, out=sums_C[rows])
        collisions = None
        if self.collisions:
            collisions = 2 * (torch.linalg.vector_norm(logits_CV, dim=-1) / sums_C).log()
        entropies = _entropies(logits_CV, sums_C, watched)
        logps_C = target_C - largest_C - sums_C.log()
        return TokenLogps(logps_C, collisions, entropies), sums_C


def _blocks(logits_CV: Tensor) -> Iterator[slice]:
    """Slices of rows that fit into a CPU core's cache; on a GPU, all rows at once."""
    count, vocabulary = logits_CV.shape
    rows = max(1, _CACHED_VALUES // vocabulary) if logits_CV.device.type == "cpu" else count
    return (slice(first, first + rows) for first in range(0, count, rows))


def _narrow_words(of_words: Tensor) -> Iterator[slice]:
    """Slices of the vocabulary for products in a narrow dtype, each widened before the next."""
    count = len(of_words)
    step = _NARROW_WORDS if of_words.device.type == "cpu" else count
    return (slice(first, first + step) for first in range(0, count, step))


def _entropies(exponentials_CV: Tensor, sums_C: Tensor, watched: Tensor) -> Tensor:
    """(C,) entropies at the watched rows, NaN at the others."""
    rows_W = watched.nonzero()[:, 0].to(sums_C.device)
    entropies_W = entropy.from_exponentials(exponentials_CV[rows_W], sums_C[rows_W])
    return entropy.scatter(entropies_W, watched.to(sums_C.device))


@torch.no_grad()
def head_logps(hidden_TH: Tensor, head: Head, packed: PackedRow) -> TokenLogps:
    """Log-probs of the N completion tokens."""
    weight_VH = head.weight.to(head.dtype)
    hidden_NH = hidden_TH[packed.predictors_N].to(head.dtype)
    parts = _parts(hidden_NH, packed.targets_N, packed.watched_N, head.rows)
    return _logps_in_parts(head, weight_VH, parts)


@torch.no_grad()
def frozen_head_logps(hidden_TH: Tensor, head: Head, packed: PackedRow) -> TokenLogps:
    """`head_logps` in half as many passes over the logits, the same up to the last bits.

    A reference must have exactly the bits of the trained pass, so it uses `head_logps`.
    """
    weight_VH = head.weight.to(head.dtype)
    hidden_NH = hidden_TH[packed.predictors_N].to(head.dtype)
    parts = zip(
        torch.split(hidden_NH, head.rows), torch.split(packed.targets_N, head.rows), strict=True
    )
    logps = [_target_logps(head.logits(hidden, weight_VH), targets) for hidden, targets in parts]
    return TokenLogps(torch.cat(logps))


def _target_logps(logits_CV: Tensor, targets: Tensor) -> Tensor:
    """(C,) log-probs of the targets."""
    sums = [logits_CV[rows].logsumexp(-1) for rows in _blocks(logits_CV)]
    return logits_CV.gather(1, targets[:, None])[:, 0] - torch.cat(sums)


@torch.no_grad()
def head_backward(hidden_TH: Tensor, head: Head, packed: PackedRow, slopes: ChunkSlopes) -> Tensor:
    """(T, H) gradient of the hidden states; the head's own gradient is added to its `grad`."""
    gradient_TH = torch.zeros_like(hidden_TH)
    weight_VH = head.weight.to(head.dtype)
    done = 0
    for pairs in _chunks(packed.segments, head.rows):
        count = sum(s.predictions for s in packed.segments[pairs])
        predictors, targets, watched = (
            x[done : done + count]
            for x in (packed.predictors_N, packed.targets_N, packed.watched_N)
        )
        hidden_CH = hidden_TH[predictors].to(head.dtype)
        if count <= head.rows:
            logits_CV = head.logits(hidden_CH, weight_VH)
            part_CH = _backward_chunk(
                head, weight_VH, hidden_CH, logits_CV, targets, watched, pairs, slopes
            )
        else:
            parts = _parts(hidden_CH, targets, watched, head.rows)
            part_CH = _backward_in_parts(head, weight_VH, parts, pairs, slopes)
        gradient_TH.index_add_(0, predictors, part_CH.to(gradient_TH.dtype))
        done += count
    return gradient_TH


def _backward_chunk(
    head: Head,
    weight_VH: Tensor,
    hidden_CH: Tensor,
    logits_CV: Tensor,
    targets: Tensor,
    watched: Tensor,
    pairs: slice,
    slopes: ChunkSlopes,
) -> Tensor:
    """(C, H) gradient of the hidden states of one chunk; overwrites the logits."""
    bent_CV = None if head.softcap is None else 1 - (logits_CV / head.softcap) ** 2
    tokens, sums_C = head.exponentiate(logits_CV, targets, watched)
    slopes_C = slopes(pairs, tokens)
    # d logp/d logits = onehot − softmax; the logits now hold softmax · sums. A row's factor goes to
    # the narrow side of each product, which saves a pass over the vocabulary.
    logits_CV[torch.arange(len(targets), device=targets.device), targets] -= sums_C
    if bent_CV is not None:
        logits_CV.mul_(bent_CV)
    factor_C1 = (-head.scale * slopes_C / sums_C)[:, None]
    if head.bias is not None and head.bias.requires_grad:
        _add(head.bias, factor_C1[:, 0] @ logits_CV)
    slope_CV = logits_CV.to(head.dtype)
    if head.weight.requires_grad:
        _add_product(head.weight, slope_CV.T, (factor_C1 * hidden_CH).to(head.dtype))
    return factor_C1 * (slope_CV @ weight_VH)


def _backward_in_parts(
    head: Head, weight_VH: Tensor, parts: Sequence[_Part], pairs: slice, slopes: ChunkSlopes
) -> Tensor:
    """`_backward_chunk` in parts, for a pair with more than R rows of logits."""
    slopes_C = slopes(pairs, _logps_in_parts(head, weight_VH, parts))
    known = iter(torch.split(slopes_C, [len(hidden) for hidden, _, _ in parts]))

    def next_slopes(_: slice, __: TokenLogps) -> Tensor:
        return next(known)

    gradients = [
        _backward_chunk(
            head,
            weight_VH,
            hidden,
            head.logits(hidden, weight_VH),
            ids,
            torch.zeros_like(watched),  # measured when the slopes were computed
            pairs,
            next_slopes,
        )
        for hidden, ids, watched in parts
    ]
    return torch.cat(gradients)


def _parts(hidden_NH: Tensor, targets_N: Tensor, watched_N: Tensor, rows: int) -> list[_Part]:
    split = (torch.split(x, rows) for x in (hidden_NH, targets_N, watched_N))
    return list(zip(*split, strict=True))


def _logps_in_parts(head: Head, weight_VH: Tensor, parts: Sequence[_Part]) -> TokenLogps:
    return TokenLogps.concatenate(
        [
            head.exponentiate(head.logits(hidden, weight_VH), ids, watched)[0]
            for hidden, ids, watched in parts
        ]
    )


def _chunks(segments: Sequence[Segment], rows: int) -> Iterator[slice]:
    """Slices of pairs with at most `rows` completion tokens, or a single longer pair."""
    first, count = 0, 0
    for number, segment in enumerate(segments):
        if number > first and count + segment.predictions > rows:
            yield slice(first, number)
            first, count = number, 0
        count += segment.predictions
    yield slice(first, len(segments))


def _add(parameter: Tensor, gradient: Tensor) -> None:
    if parameter.grad is None:
        parameter.grad = gradient.to(parameter.dtype)
    else:
        parameter.grad += gradient


def _add_product(parameter: Tensor, left: Tensor, right: Tensor) -> None:
    if left.dtype == parameter.dtype:
        if parameter.grad is None:
            parameter.grad = left @ right
        else:
            parameter.grad.addmm_(left, right)
        return
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    for rows in _narrow_words(parameter):
        parameter.grad[rows] += left[rows] @ right
