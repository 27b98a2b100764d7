"""The interface of a pass through the model, fast or plain.

N completion tokens, group after group, completions in order: a pair's chosen before its rejected
one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict, TypeVar

import torch
from torch import Tensor

from dpo_core.training.pairs.batching import PromptGroup, TrainingPair

T = TypeVar("T")


@dataclass(frozen=True)
class TokenLogps:
    """Log-probs of completion tokens, float32 nats, with further values where they are requested.

    log_collisions_N: log Σ_v π(v)². entropies_N: −Σ_v π(v)·log π(v), nats, at watched tokens; NaN
    elsewhere.
    """

    logps_N: Tensor
    log_collisions_N: Tensor | None = None
    entropies_N: Tensor | None = None

    def detached(self) -> "TokenLogps":
        """The same values without gradients."""
        return TokenLogps(self.logps_N.detach(), self.log_collisions_N, self.entropies_N)

    @classmethod
    def concatenate(cls, parts: Sequence["TokenLogps"]) -> "TokenLogps":
        """The tokens of all parts, in order. All parts must hold the same kinds of values."""
        collisions = [t.log_collisions_N for t in parts if t.log_collisions_N is not None]
        entropies = [t.entropies_N for t in parts if t.entropies_N is not None]
        return cls(
            torch.cat([t.logps_N for t in parts]),
            torch.cat(collisions) if collisions else None,
            torch.cat(entropies) if entropies else None,
        )


Slopes = Callable[[Sequence[TrainingPair], TokenLogps], Tensor]
"""slopes(pairs, tokens) -> (N,) derivatives of the optimiser step's loss with respect to the
log-probs of these pairs' completion tokens."""


class Enter(Protocol):
    """Runs a function while the weights of a sharded model are gathered."""

    def __call__(self, run: Callable[[], T]) -> T: ...


class PathOptions(TypedDict):
    """Keywords of both paths: what they compute besides log-probs, and how they enter the model."""

    collisions: bool
    entropies_per_pair: int
    enter: Enter | None


class PairPath(Protocol):
    """A way for groups to go through the model."""

    name: str

    def tokens(self, groups: Sequence[PromptGroup]) -> int:
        """Tokens that go through the model for these groups, padding included."""

    def padding(self, groups: Sequence[PromptGroup]) -> int:
        """Padding tokens among these."""

    def logps(self, groups: Sequence[PromptGroup]) -> TokenLogps:
        """Log-probs of the groups' completion tokens, without gradients."""

    def backward(self, pairs: Sequence[TrainingPair], slopes: Slopes) -> None:
        """Add the gradients of the loss with derivatives `slopes` to the model's.

        `slopes` may be called for parts of the pairs, in order, each pair once.
        """
