"""The Engine protocol: vLLM and transformers sample and score behind it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from generation.config import SamplingConfig

Tick = Callable[[int], None]
"""Called with the number of completions that finished since the last call."""


@dataclass(frozen=True)
class SampleRequest:
    """`n` samples for one prompt; sample i uses the seed `seed + i`."""

    prompt_token_ids: list[int]
    seed: int
    n: int


@dataclass(frozen=True)
class DecodingOptions:
    """How tokens are chosen; temperature 0 is greedy decoding."""

    max_tokens: int
    temperature: float
    top_p: float

    @classmethod
    def from_config(cls, config: SamplingConfig) -> "DecodingOptions":
        return cls(config.max_tokens, config.temperature, config.top_p)


@dataclass(frozen=True)
class Sample:
    """One sampled completion.

    token_ids ends with EOS exactly when finish_reason is "stop". token_logps holds the
    log-probability of each token in nats, under the policy itself (temperature 1, no truncation).
    """

    token_ids: list[int]
    token_logps: list[float]
    finish_reason: str


@dataclass(frozen=True)
class Likelihood:
    """logp: sum over a completion's tokens of log π(token | prompt, tokens before), in nats.
    greedy: whether every token was the most likely one at its position."""

    logp: float
    greedy: bool


class Engine(Protocol):
    """Samples from, and scores under, the policy loaded last."""

    max_model_len: int
    """Most tokens of prompt and completion together that can be both sampled and scored."""

    def load(self, policy: Path) -> None:
        """Load the policy from a folder written by save_pretrained."""

    def sample(
        self, requests: Sequence[SampleRequest], tick: Tick, decoding: DecodingOptions | None = None
    ) -> list[list[Sample]]:
        """`n` samples for each request, in order; `decoding` overrides the config's options.

        Equal seeds give equal tokens.
        """

    def logps(self, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> list[float]:
        """Sum over each completion's tokens of log π(token | prompt, tokens before), in nats."""

    def likelihoods(
        self, prompts: Sequence[list[int]], completions: Sequence[list[int]]
    ) -> list[Likelihood]:
        """The same sums, and whether greedy decoding would give each completion."""

    def versions(self) -> dict[str, str]:
        """Versions of the libraries that the numbers depend on."""
