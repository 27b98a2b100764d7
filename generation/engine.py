"""What an engine is: the one protocol behind which vLLM and transformers sample and score."""

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
    """How tokens are chosen: at temperature 0 the likeliest one, every time (greedy)."""

    max_tokens: int
    temperature: float
    top_p: float

    @classmethod
    def from_config(cls, config: SamplingConfig) -> "DecodingOptions":
        return cls(config.max_tokens, config.temperature, config.top_p)


@dataclass(frozen=True)
class Sample:
    """One sampled completion.

    token_ids end with EOS exactly when finish_reason is "stop". token_logps are natural
    log-probabilities of those tokens under the policy itself (temperature 1, no truncation).
    """

    token_ids: list[int]
    token_logps: list[float]
    finish_reason: str


@dataclass(frozen=True)
class Likelihood:
    """logp: the sum over a completion's tokens of log π(token | prompt, tokens before), nats.
    greedy: whether each of them was the likeliest one where it stands."""

    logp: float
    greedy: bool


class Engine(Protocol):
    """Samples from, and scores under, the policy that was loaded last."""

    max_model_len: int
    """Most tokens of a prompt and its completion that can be both sampled and scored."""

    def load(self, policy: Path) -> None:
        """Make `policy` (a folder written by save_pretrained) the one that answers from now on."""

    def sample(
        self, requests: Sequence[SampleRequest], tick: Tick, decoding: DecodingOptions | None = None
    ) -> list[list[Sample]]:
        """`n` samples for each request, in order, decoded as the config says where nothing else is
        asked for. Equal seeds give equal tokens."""

    def logps(self, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> list[float]:
        """Sum over each completion's tokens of log π(token | prompt, tokens before), nats."""

    def likelihoods(
        self, prompts: Sequence[list[int]], completions: Sequence[list[int]]
    ) -> list[Likelihood]:
        """The same, and whether the policy would have said each completion itself."""

    def versions(self) -> dict[str, str]:
        """Versions of the libraries that decide the numbers."""
