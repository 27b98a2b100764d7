"""What is measured on a CPU that multiplies bfloat16: a model, TRL's settings.

SmolLM2-135M's shape with random weights. Prompts and answers are as long as those of everyday
requests with an instruction or two. Both sides keep float32 weights and AdamW's state, and compute
in bfloat16 by autocast; TRL calls that `bf16=True`.
"""

from typing import Any

from benchmarks.dpo_round.runs import TUNED
from benchmarks.dpo_round.workload import Model

MODELS = {
    "C": Model(
        "llama",
        layers=30,
        key_value_heads=3,
        vocabulary=49152,
        tied=True,
        pairs=16,
        hidden=576,
        intermediate=1536,
        heads=9,
        training={"compute_dtype": "bfloat16"},
    ),
}

DEFAULTS = "batch 8"
_FLAGS = {"precompute_ref_log_probs": True, "gradient_checkpointing": False, "bf16": True}


def _step(batch: int, **others: Any) -> dict[str, Any]:
    return {"batch": batch, "accumulate": 8 // batch, "flags": _FLAGS, **others}


SETTINGS: dict[str, dict[str, Any]] = {
    DEFAULTS: _step(8),
    "batch 4 x 2, completion rows, allocator": _step(4, **TUNED),
    "batch 2 x 4, completion rows, allocator": _step(2, **TUNED),
    "batch 1 x 8, completion rows, allocator": _step(1, **TUNED),
}
"""Of `runs.SETTINGS` those that may be the fastest: by length and huge pages were slower."""
