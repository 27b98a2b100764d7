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

    chosen, rejected (pair,): sums over completion tokens, nats.
    chosen_lengths, rejected_lengths (pair,): the tokens in these sums, for losses that divide by
    them. weights (pair,): what each pair counts in a mean; None means all the same.
    whole: where the sums count some tokens less (LD-DPO), the sums over all of them with their
    lengths. The others then have no lengths: nothing divides them by tokens that they leave out.
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
            raise ValueError("sums that are not whole have no lengths: leave them to `whole`")

    @property
    def plain(self) -> "PairLogps":
        """Sums in which every token counts once, with their lengths."""
        return self if self.whole is None else self.whole

    def detached(self) -> "PairLogps":
        values = (None if v is None else v.detach() for v in self._values())
        return PairLogps(*values, whole=self.whole and self.whole.detached())  # type: ignore[arg-type, misc]

    @classmethod
    def joined(cls, parts: Sequence["PairLogps"]) -> "PairLogps":
        """The pairs of all parts, in their order; a value that any part lacks is left out."""
        columns = zip(*(part._values() for part in parts), strict=True)
        wholes = [part.whole for part in parts if part.whole is not None]
        whole = cls.joined(wholes) if wholes else None
        return cls(*(_concatenated(column) for column in columns), whole=whole)  # type: ignore[arg-type, misc]

    def _values(self) -> tuple[Tensor | None, ...]:
        return (
            self.chosen,
            self.rejected,
            self.chosen_lengths,
            self.rejected_lengths,
            self.weights,
        )

    def lengths(self, side: Literal["chosen", "rejected"], loss: str) -> Tensor:
        """(pair,) completion tokens of one side. Raises ValueError when `loss` lacks them."""
        found = self.chosen_lengths if side == "chosen" else self.rejected_lengths
        if self.whole is not None:
            raise ValueError(
                f"loss {loss} divides by tokens, but these sums count some tokens less than others"
            )
        if found is None:
            raise ValueError(
                f"loss {loss} needs {side}_lengths: pass PairLogps({side}_lengths=...)"
            )
        return found


def _concatenated(values: Sequence[Tensor | None]) -> Tensor | None:
    there = [value for value in values if value is not None]
    return torch.cat(there) if len(there) == len(values) else None


def completion_logps(
    logits_BTV: Tensor, input_ids_BT: Tensor, completion_mask_BT: Tensor
) -> Tensor:
    """(B,) float32 sums of the log-probs of each sequence's completion tokens, nats.

    The logits at position t predict the token at t + 1. `completion_mask_BT` is true at completion
    tokens and false at the prompt and at padding; make it from lengths, not by comparing ids with
    the padding id, which is often EOS. Only the logits that predict completion tokens are turned
    into float32. Raises ValueError when shapes differ, or when the first token, which nothing
    predicts, is marked as a completion token.
    """
    logps_N = completion_token_logps(logits_BTV, input_ids_BT, completion_mask_BT)
    return _placed(logps_N, completion_mask_BT.bool()).sum(-1)


def completion_token_logps(
    logits_BTV: Tensor, input_ids_BT: Tensor, completion_mask_BT: Tensor
) -> Tensor:
    """(N,) float32 log-probs of the completion tokens, nats, sequence after sequence.

    Arguments and errors are those of `completion_logps`.
    """
    if not logits_BTV.shape[:2] == input_ids_BT.shape == completion_mask_BT.shape:
        raise ValueError(
            f"shapes differ: logits {tuple(logits_BTV.shape)}, input_ids "
            f"{tuple(input_ids_BT.shape)}, completion_mask {tuple(completion_mask_BT.shape)}"
        )
    if bool(completion_mask_BT[:, 0].any()):
        raise ValueError("the first token of a sequence is predicted by nothing: give a prompt")
    # index_select, not a boolean mask: the deterministic backward of the latter takes 3 times as
    # long. The place before a completion token is in the same sequence, for the first is none.
    tokens_N = completion_mask_BT.flatten().nonzero()[:, 0]
    logits_NV = logits_BTV.flatten(0, 1).index_select(0, tokens_N - 1)
    return token_logps(logits_NV, input_ids_BT.flatten()[tokens_N])


def token_logps(logits_NV: Tensor, token_ids_N: Tensor) -> Tensor:
    """(N,) float32 log-probs of one token per row of logits, nats."""
    return -F.cross_entropy(logits_NV.float(), token_ids_N, reduction="none")


def split_by_completion(values_N: Tensor, lengths_P2: Tensor) -> Tensor:
    """(pair, 2, L) the values of completion tokens, one completion a row, then zeros.

    Values come pair after pair, chosen before rejected; lengths_P2 are the completions' tokens.
    """
    position_L = torch.arange(int(lengths_P2.max()), device=lengths_P2.device)
    return _placed(values_N, position_L < lengths_P2[:, :, None])


def _placed(values_N: Tensor, mask: Tensor) -> Tensor:
    """The values at the true places of `mask`, in row order, zeros elsewhere.

    For sums: those along rows repeat bit by bit, index_add does not promise that on a GPU.
    """
    return values_N.new_zeros(mask.shape).masked_scatter(mask, values_N)


def length_desensitised_sums(logps_P2L: Tensor, lengths_P2: Tensor, alpha: float) -> Tensor:
    """(pair, 2) sums in which tokens beyond the pair's shorter completion count `alpha` times.

    With alpha 1 these are plain sums, with 0 both sides count equally many tokens. Source: LD-DPO,
    Liu et al. 2024 (arXiv:2409.06411).
    """
    shared_P1 = lengths_P2.amin(1, keepdim=True)
    position_L = torch.arange(logps_P2L.shape[2], device=logps_P2L.device)
    within_P1L = position_L < shared_P1[:, :, None]
    return torch.where(within_P1L, logps_P2L, alpha * logps_P2L).sum(-1)


@torch.no_grad()
def wpo_weights(logps_P2L: Tensor, log_collision_P2L: Tensor, lengths_P2: Tensor) -> Tensor:
    """(pair,) weights of pairs: how likely the policy itself is to produce both completions.

    The weight of a completion is the geometric mean of π(token)/Σ_v π(v)²; log_collision_P2L holds
    log Σ_v π(v)², the mean probability of a token that the policy samples itself. Source: WPO, Zhou
    et al. 2024 (arXiv:2406.11827), equation 2, with its alignment of the weights.
    """
    means_P2 = (logps_P2L - log_collision_P2L).sum(-1) / lengths_P2.clamp(min=1)
    return means_P2.exp().prod(1)
