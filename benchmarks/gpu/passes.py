"""Is the fast pass through a model on this device the plain one? Whole models, and fused layers.

N completion tokens.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.gpu.attention import kernels, only, relative
from benchmarks.gpu.results import Bench
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.passes.choose_path import AGREEMENT
from dpo_core.training.passes.fast_path import FastPath
from dpo_core.training.passes.fused_layers import FusedLayers
from dpo_core.training.passes.model_size import HEAD_ROWS
from dpo_core.training.passes.pass_over_pairs import PairPath, TokenLogps
from dpo_core.training.passes.plain_path import PlainPath
from dpo_core.training.runtime import Runtime, attention_for

SAME_GRADIENTS = 1e-4
"""Norm of the difference of two float32 gradients of a model, relative to theirs."""

NO_WORSE = 1.5
"""In bfloat16 no two passes agree; the fast one may be so much farther from float32 than the plain
one is, by the root of the mean square."""

VOCABULARY = 997
_SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
}
_MIDDLE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "initializer_range": 0.1,
}
"""Their weights are so wide that a wrong mask moves log-probs by far."""

_ARCHITECTURES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen2, tied": ("Qwen2Config", {"tie_word_embeddings": True}),
    "mistral, window": ("MistralConfig", {"sliding_window": 5}),
    "gemma2, window and soft caps": (
        "Gemma2Config",
        {
            "sliding_window": 5,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 4.0,
            "query_pre_attn_scalar": 8,
        },
    ),
}


@dataclass(frozen=True)
class Found:
    """What a pass finds: log-probs (N,) and the gradients of a weighted sum of them, as one row."""

    logps_N: Tensor
    gradients: Tensor


def fast_pass(bench: Bench) -> None:
    """Log-probs and gradients of both passes, for models of each kind, by each kernel."""
    pairs = random_pairs(6, 15 if bench.tiny else 200)
    for architecture in _ARCHITECTURES:
        with bench.trying(architecture):
            exact, rough = (
                through(bench, architecture, pairs, dtype)
                for dtype in (torch.float32, torch.bfloat16)
            )
            for kernel in kernels(bench):
                with bench.trying(f"{architecture}, {kernel}"), only(kernel):
                    _compare_passes(bench, architecture, kernel, pairs, exact, rough)


def _compare_passes(
    bench: Bench,
    architecture: str,
    kernel: str,
    pairs: Sequence[TrainingPair],
    exact: Found,
    rough: Found,
) -> None:
    """exact, rough: what the plain pass finds in float32 and in bfloat16."""
    what = f"{architecture}, {kernel}"
    found = through(bench, architecture, pairs, torch.float32, fast=True)
    bound = AGREEMENT[torch.float32]
    bench.at_most(f"{what}, float32: log-probs, nats", farthest(found, exact), bound)
    distance = float((found.gradients - exact.gradients).norm() / exact.gradients.norm())
    bench.at_most(f"{what}, float32: gradients", distance, SAME_GRADIENTS)
    found, bound = through(bench, architecture, pairs, torch.bfloat16, fast=True), NO_WORSE
    allowed = AGREEMENT[torch.bfloat16]
    bench.at_most(f"{what}, bfloat16: log-probs, nats", farthest(found, rough), allowed)
    errors = [float((one.logps_N - exact.logps_N).norm()) for one in (found, rough)]
    bench.at_most(f"{what}, bfloat16: log-probs' error over plain", errors[0] / errors[1], bound)
    errors = [float((one.gradients - exact.gradients).norm()) for one in (found, rough)]
    bench.at_most(f"{what}, bfloat16: gradients' error over plain", errors[0] / errors[1], bound)


def farthest(found: Found, expected: Found) -> float:
    """Largest difference of a log-prob, nats."""
    return float((found.logps_N - expected.logps_N).abs().max())


def random_pairs(count: int, longest: int) -> list[TrainingPair]:
    chosen = random.Random(0)

    def ids() -> list[int]:
        return [chosen.randrange(3, VOCABULARY) for _ in range(chosen.randint(1, longest))]

    return [TrainingPair(str(i), ids(), ids(), ids()) for i in range(count)]


def build(bench: Bench, architecture: str) -> Any:
    """A model with random weights, the same each time."""
    torch.manual_seed(0)
    name, own = _ARCHITECTURES[architecture]
    if "sliding_window" in own and not bench.tiny:
        own = own | {"sliding_window": 50}
    config = getattr(transformers, name)(**_SMALL | (_TINY if bench.tiny else _MIDDLE) | own)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention_for(config))
    return model.float().to(bench.device).eval()


def through(
    bench: Bench,
    architecture: str,
    pairs: Sequence[TrainingPair],
    dtype: torch.dtype,
    *,
    fast: bool = False,
) -> Found:
    """What a pass finds that computes in `dtype`."""
    model, runtime = build(bench, architecture), Runtime(torch.device(bench.device), dtype)
    path: PairPath = PlainPath(model, runtime)
    if fast:
        path = FastPath(model, runtime, head_rows=HEAD_ROWS)
    logps_N = path.logps(pairs).logps_N
    path.backward(pairs, _random_slopes(pairs, bench.device))
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return Found(logps_N.double(), torch.cat(gradients).double())


def _random_slopes(
    pairs: Sequence[TrainingPair], device: str
) -> Callable[[Sequence[TrainingPair], TokenLogps], Tensor]:
    generator = torch.Generator().manual_seed(1)
    by_id = {
        pair.pair_id: torch.randn(
            len(pair.chosen_ids) + len(pair.rejected_ids), generator=generator
        ).to(device)
        for pair in pairs
    }
    return lambda part, _: torch.cat([by_id[pair.pair_id] for pair in part])


# ── fused layers ─────────────────────────────────────────────────────────────────────────────────


def fused_layers(bench: Bench) -> None:
    """A model's outputs and gradients with and without them; they are of float32 alone."""
    model = build(bench, "llama")
    fused = FusedLayers(model)
    with fused.in_use():
        replaced = [m for m in model.modules() if "forward" in vars(m)]
        found = _outputs_and_gradients(model, bench.device)
    expected = _outputs_and_gradients(model, bench.device)
    layers = model.config.num_hidden_layers
    # Two norms and an MLP of each layer, and the last norm; the embedding on CPUs alone.
    bench.at_least("layers that are replaced", len(replaced), 3 * layers + 1)
    for what, one, other in zip(("logits", "gradients"), found, expected, strict=True):
        bench.at_most(what, relative(one, other), SAME_GRADIENTS)


def _outputs_and_gradients(model: Any, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, VOCABULARY, (2, 40), generator=generator).to(device)
    model.zero_grad()
    logits = model(ids).logits
    slopes = torch.randn(logits.shape, generator=generator).to(device)
    (logits * slopes).sum().backward()
    return logits.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])
