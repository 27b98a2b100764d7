"""What a pass through the model offers, whichever way it goes.

N completion tokens, group after group, its completions in their order: a pair's chosen before its
rejected one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from dpo_core.training.pairs.batching import PromptGroup, TrainingPair

T = TypeVar("T")


@dataclass(frozen=True)
class TokenLogps:
    """Of each completion token, float32: its log-prob, nats; log Σ_v π(v)² where asked for.

    entropies_N: −Σ_v π(v)·log π(v), nats, where it was measured, NaN elsewhere.
    """

    logps_N: Tensor
    log_collisions_N: Tensor | None = None
    entropies_N: Tensor | None = None

    def detached(self) -> "TokenLogps":
        return TokenLogps(self.logps_N.detach(), self.log_collisions_N, self.entropies_N)

    @classmethod
    def joined(cls, parts: Sequence["TokenLogps"]) -> "TokenLogps":
        """The tokens of all parts, in their order; all parts hold the same kinds of values."""
        collisions = [t.log_collisions_N for t in parts if t.log_collisions_N is not None]
        entropies = [t.entropies_N for t in parts if t.entropies_N is not None]
        return cls(
            torch.cat([t.logps_N for t in parts]),
            torch.cat(collisions) if collisions else None,
            torch.cat(entropies) if entropies else None,
        )


Slopes = Callable[[Sequence[TrainingPair], TokenLogps], Tensor]
"""slopes(pairs, tokens) -> (N,) derivatives of the optimiser step's loss by the log-probs of these
pairs' completion tokens."""


class Enter(Protocol):
    """Runs a function with the weights of a divided model at hand."""

    def __call__(self, run: Callable[[], T]) -> T: ...


class PairPath(Protocol):
    """A way through the model."""

    name: str

    def tokens(self, groups: Sequence[PromptGroup]) -> int:
        """Tokens that go through the model for these groups, padding included."""

    def padding(self, groups: Sequence[PromptGroup]) -> int:
        """Those of them that are padding."""

    def logps(self, groups: Sequence[PromptGroup]) -> TokenLogps:
        """Log-probs of the groups' completion tokens, without gradients."""

    def backward(self, pairs: Sequence[TrainingPair], slopes: Slopes) -> None:
        """Add to the model's gradients those of the loss whose derivative is `slopes`.

        It may be asked for a part of the pairs at a time, in their order, each pair once.
        """
