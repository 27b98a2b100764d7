"""Log-probabilities of completions under one policy.

B sequences of a batch, T positions, V vocabulary, N completion tokens of the whole batch;
`pair` is the number of pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class PairLogps:
    """Log-probs of the chosen and rejected completions of some pairs under one policy.

    chosen, rejected: (pair,) sums over completion tokens, nats.
    chosen_lengths, rejected_lengths: (pair,) tokens in these sums, for losses that divide by them.
    weights: (pair,) weight of each pair in a mean; None weighs all the same.
    whole: where `chosen` and `rejected` count some tokens less (LD-DPO), the sums over all tokens,
    with their lengths. The shortened sums have no lengths, because dividing them by tokens that
    they leave out has no meaning.

    Raises ValueError when shapes differ, or when shortened sums come with lengths.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_lengths: Tensor | None = None
    rejected_lengths: Tensor | None = None
    weights: Tensor | None = None
    whole: "PairLogps | None" = None

    def __post_init__(self) -> None:
        if self.chosen.ndim != 1:
            raise ValueError(f"chosen must have shape (pair,), not {tuple(self.chosen.shape)}")
        for name in ("rejected", "chosen_lengths", "rejected_lengths", "weights"):
            value = getattr(self, name)
            if value is not None and value.shape != self.chosen.shape:
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}, chosen {tuple(self.chosen.shape)}"
                )
        if self.whole is not None and (self.chosen_lengths, self.rejected_lengths) != (None, None):
            raise ValueError("shortened sums have no lengths: pass lengths in `whole` only")

    @property
    def plain(self) -> "PairLogps":
        """The sums in which every token counts once, with their lengths."""
        return self if self.whole is None else self.whole

    def detached(self) -> "PairLogps":
        """The same values without gradients."""
        values = (None if v is None else v.detach() for v in self._values())
        return PairLogps(*values, whole=self.whole and self.whole.detached())  # type: ignore[arg-type, misc]

    @classmethod
    def concatenate(cls, parts: Sequence["PairLogps"]) -> "PairLogps":
        """The pairs of all parts, in order. A value that any part lacks is None in the result."""
        columns = zip(*(part._values() for part in parts), strict=True)
        wholes = [part.whole for part in parts if part.whole is not None]
        whole = cls.concatenate(wholes) if wholes else None
        return cls(*(_concatenate(column) for column in columns), whole=whole)  # type: ignore[arg-type, misc]

    def _values(self) -> tuple[Tensor | None, ...]:
        return (
            self.chosen,
            self.rejected,
            self.chosen_lengths,
            self.rejected_lengths,
            self.weights,
        )

    def lengths(self, side: Literal["chosen", "rejected"], loss: str) -> Tensor:
        """(pair,) completion tokens of one side. Raises ValueError, naming `loss`, without them."""
        lengths = self.chosen_lengths if side == "chosen" else self.rejected_lengths
        if self.whole is not None:
            raise ValueError(
                f"loss {loss} divides by tokens, but these sums count some tokens less than others"
            )
        if lengths is None:
            raise ValueError(
                f"loss {loss} needs {side}_lengths: pass PairLogps({side}_lengths=...)"
            )
        return lengths


def _concatenate(values: Sequence[Tensor | None]) -> Tensor | None:
    tensors = [value for value in values if value is not None]
    return torch.cat(tensors) if len(tensors) == len(values) else None


def completion_logps(
    logits_BTV: Tensor, input_ids_BT: Tensor, completion_mask_BT: Tensor
) -> Tensor:
    """Log-probs of completions, each the sum over its tokens.

    The logits at position t predict the token at t + 1. Only logits that predict completion tokens
    are converted to float32.

    Args:
        logits_BTV: the model's output.
        input_ids_BT: the tokens that went into the model.
        completion_mask_BT: true at completion tokens, false at the prompt and at padding. Build it
            from lengths, not by comparing ids with the padding id, which is often EOS.

    Returns:
        (B,) float32 sums, nats.

    Raises:
        ValueError: shapes differ, or a sequence's first token, which nothing predicts, is marked
            as a completion token.

    Example:
        >>> mask = torch.tensor([[False, True, True]])
        >>> completion_logps(torch.zeros(1, 3, 2), torch.tensor([[0, 1, 0]]), mask)  # 2·ln ½
        tensor([-1.3863])
    """
    logps_N = completion_token_logps(logits_BTV, input_ids_BT, completion_mask_BT)
    return _scatter_rows(logps_N, completion_mask_BT.bool()).sum(-1)


def completion_token_logps(
    logits_BTV: Tensor, input_ids_BT: Tensor, completion_mask_BT: Tensor
) -> Tensor:
    """Log-probs of single completion tokens.

    Args:
        logits_BTV, input_ids_BT, completion_mask_BT: as for `completion_logps`.

    Returns:
        (N,) float32 log-probs, nats, sequence after sequence.

    Raises:
        ValueError: as `completion_logps` does.
    """
    if not logits_BTV.shape[:2] == input_ids_BT.shape == completion_mask_BT.shape:
        raise ValueError(
            f"shapes differ: logits {tuple(logits_BTV.shape)}, input_ids "
            f"{tuple(input_ids_BT.shape)}, completion_mask {tuple(completion_mask_BT.shape)}"
        )
    if bool(completion_mask_BT[:, 0].any()):
        raise ValueError("nothing predicts a sequence's first token: give every sequence a prompt")
    # index_select, because the deterministic backward of a boolean mask takes 3 times as long. The
    # position before a completion token is in the same sequence: no first token is one.
    tokens_N = completion_mask_BT.flatten().nonzero()[:, 0]
    logits_NV = logits_BTV.flatten(0, 1).index_select(0, tokens_N - 1)
    return token_logps(logits_NV, input_ids_BT.flatten()[tokens_N])


def token_logps(logits_NV: Tensor, token_ids_N: Tensor) -> Tensor:
    """Log-probs of one token per row of logits.

    Args:
        logits_NV: rows of logits, in any dtype.
        token_ids_N: the token of each row.

    Returns:
        (N,) float32 log-probs, nats.

    Example:
        >>> token_logps(torch.zeros(1, 2), torch.tensor([1]))  # ln ½
        tensor([-0.6931])
    """
    return -F.cross_entropy(logits_NV.float(), token_ids_N, reduction="none")


def split_by_completion(values_N: Tensor, lengths_P2: Tensor) -> Tensor:
    """Arrange values of completion tokens by completion, padded with zeros.

    Args:
        values_N: values pair after pair, chosen before rejected.
        lengths_P2: tokens of each pair's chosen and rejected completion.

    Returns:
        (pair, 2, L) with L the longest completion.

    Example:
        >>> split_by_completion(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[2, 1]]))
        tensor([[[1., 2.],
                 [3., 0.]]])
    """
    position_L = torch.arange(int(lengths_P2.max()), device=lengths_P2.device)
    return _scatter_rows(values_N, position_L < lengths_P2[:, :, None])


def _scatter_rows(values_N: Tensor, mask: Tensor) -> Tensor:
    """The values where `mask` is true, in row order, zeros elsewhere.

    Sums along rows of the result repeat bit by bit; index_add does not promise that on a GPU.
    """
    return values_N.new_zeros(mask.shape).masked_scatter(mask, values_N)


def length_desensitised_sums(logps_P2L: Tensor, lengths_P2: Tensor, alpha: float) -> Tensor:
    """Log-probs of completions in which tokens beyond the pair's shorter one count `alpha` times.

    LD-DPO, Liu et al. 2024 (arXiv:2409.06411).

    Args:
        logps_P2L: log-probs of tokens by completion, nats, zeros at padding.
        lengths_P2: tokens of each completion.
        alpha: 1 gives plain sums; 0 counts equally many tokens on both sides.

    Returns:
        (pair, 2) sums, nats.

    Example:
        >>> logps = torch.tensor([[[-1.0, -1.0], [-1.0, 0.0]]])
        >>> length_desensitised_sums(logps, torch.tensor([[2, 1]]), alpha=0.5)
        tensor([[-1.5000, -1.0000]])
    """
    shared_P1 = lengths_P2.amin(1, keepdim=True)
    position_L = torch.arange(logps_P2L.shape[2], device=logps_P2L.device)
    within_P1L = position_L < shared_P1[:, :, None]
    return torch.where(within_P1L, logps_P2L, alpha * logps_P2L).sum(-1)


@torch.no_grad()
def wpo_weights(logps_P2L: Tensor, log_collision_P2L: Tensor, lengths_P2: Tensor) -> Tensor:
    """Weights of pairs: how likely the policy itself is to produce both completions.

    The weight of a completion is the geometric mean of π(token)/Σ_v π(v)², where Σ_v π(v)² is the
    mean probability of a token that the policy samples. A pair's weight is the product of both.
    WPO, Zhou et al. 2024 (arXiv:2406.11827), equation 2, with its weight alignment.

    Args:
        logps_P2L: log-probs of tokens by completion, nats, zeros at padding.
        log_collision_P2L: log Σ_v π(v)² at the same tokens, zeros at padding.
        lengths_P2: tokens of each completion.

    Returns:
        (pair,) weights, without gradients.
    """
    means_P2 = (logps_P2L - log_collision_P2L).sum(-1) / lengths_P2.clamp(min=1)
    return means_P2.exp().prod(1)
