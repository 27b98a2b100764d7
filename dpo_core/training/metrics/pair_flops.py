"""Floating-point operations that training on a pair needs, whatever is actually computed.

A pair counts as the fast pass goes through it: its prompt once, no padding, the output head at
completion tokens only. Two operations per weight and token; attention by the pairs of tokens that
see each other. Norms, rotations and the optimiser are left out, as usual: they are few.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from dpo_core.training.pairs.batching import TrainingPair

_EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class PairFlops:
    """A model's operations as factors of its pairs' lengths.

    body, head: weights that a token is multiplied with; trained_body, trained_head: those of them
    with gradients. attention: (query channels, window in tokens) of each layer.
    """

    body: float
    head: float
    trained_body: float
    trained_head: float
    attention: tuple[tuple[int, float], ...]

    @classmethod
    def from_model(cls, model: Any) -> "PairFlops":
        """Count a transformers model's weights.

        Embeddings are looked up, not multiplied. Of experts, those that a token is routed to count.
        A model whose config names no attention heads counts as having none.
        """
        config = model.config.get_text_config()
        head = model.get_output_embeddings().weight
        embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        body = trained_body = 0.0
        for weight in model.parameters():
            if weight.ndim < 2 or weight is head or id(weight) in embeddings:
                continue
            used = weight.numel() * (_share_of_experts(config) if weight.ndim == 3 else 1.0)
            body += used
            trained_body += used * weight.requires_grad
        return cls(
            body,
            head.numel(),
            trained_body,
            head.numel() * head.requires_grad,
            tuple(_attention(config)),
        )

    def forward(self, pair: TrainingPair) -> float:
        """Operations of one pass over the pair without gradients."""
        completions = len(pair.chosen_ids) + len(pair.rejected_ids)
        return 2 * (self.body * pair.tokens + self.head * completions) + self._attention(pair)

    def step(self, pair: TrainingPair) -> float:
        """Operations of a pass with gradients: twice a forward pass, plus two per token for the
        gradient of each trained weight."""
        completions = len(pair.chosen_ids) + len(pair.rejected_ids)
        weights = 2 * (self.trained_body * pair.tokens + self.trained_head * completions)
        return 2 * self.forward(pair) + weights + self._attention(pair)

    def _attention(self, pair: TrainingPair) -> float:
        """Attention: four per channel and pair of tokens that see each other."""
        prompt = len(pair.prompt_ids)
        chosen, rejected = prompt + len(pair.chosen_ids), prompt + len(pair.rejected_ids)
        return sum(
            4 * channels * (_seen(chosen, window) + _seen(rejected, window) - _seen(prompt, window))
            for channels, window in self.attention
        )


def _seen(length: int, window: float) -> float:
    """Σ over positions 1 … length of the number of tokens that each sees, itself included."""
    ramp = min(length, window)
    return ramp * (ramp + 1) / 2 + (length - ramp) * ramp


def _attention(config: Any) -> Iterable[tuple[int, float]]:
    """(channels, window) of each layer."""
    heads = getattr(config, "num_attention_heads", 0)
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // max(heads, 1)
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None) or float("inf")
    for kind in kinds:
        yield heads * width, window if kind == "sliding_attention" else float("inf")


def _share_of_experts(config: Any) -> float:
    """Share of a layer's experts that one token is routed to."""
    counts = [getattr(config, name, None) for name in _EXPERT_COUNTS]
    known = next((count for count in counts if count), None)
    return config.num_experts_per_tok / known if known else 1.0
