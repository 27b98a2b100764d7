"""What is measured on a GPU: the models, and TRL's settings that are tried.

Sizes: 507 M parameters, and the 6.7 B of Llama 2's "7B". A trained weight takes 16 bytes (itself,
its gradient and AdamW's two moments, all float32): 8 GB for the first, which is trained whole, and
108 GB for the second before any activation, so that one trains adapters on frozen bfloat16 weights
of 13.5 GB, as its users do on one GPU. Learning rates are usual ones, the full one TRL's default.
"""

from typing import Any

from benchmarks.dpo_round.workload import Model

MODELS = {
    "0.5B": Model(
        "llama",
        layers=28,
        key_value_heads=8,
        vocabulary=32768,
        tied=False,
        pairs=256,
        hidden=1024,
        intermediate=4096,
        heads=16,
        spread=0.02,
        training={"compute_dtype": "bfloat16", "learning_rate": 1e-6},
    ),
    "7B": Model(
        "llama",
        layers=32,
        key_value_heads=32,
        vocabulary=32000,
        tied=False,
        pairs=64,
        hidden=4096,
        intermediate=11008,
        heads=32,
        spread=0.02,
        training={
            "compute_dtype": "bfloat16",
            "learning_rate": 5e-5,
            "lora": {"rank": 16, "alpha": 32.0},
        },
    ),
}

DEFAULTS = "defaults"
_STEP = {"batch": 8, "accumulate": 1, "unhashed": True}
_KEPT = {"gradient_checkpointing": False}
_BEFORE = {**_KEPT, "precompute_ref_log_probs": True}
_FASTEST = {**_BEFORE, "precompute_ref_batch_size": 32}
SETTINGS: dict[str, dict[str, Any]] = {
    # bfloat16 autocast, checkpointed layers, fused AdamW, the head on completion rows in tiles, the
    # reference in each step: DPOConfig sets all of that itself on a GPU.
    DEFAULTS: {**_STEP, "flags": {}},
    "no checkpointing": {**_STEP, "flags": _KEPT},
    "reference before": {**_STEP, "flags": _BEFORE},
    "reference before in batches of 32": {**_STEP, "flags": _FASTEST},
    "... TF32": {**_STEP, "flags": {**_FASTEST, "tf32": True}},
    "... batch 4 x 2": {**_STEP, "batch": 4, "accumulate": 2, "flags": _FASTEST},
    "... batch 4 x 2, by length": {
        **_STEP,
        "batch": 4,
        "accumulate": 2,
        "by_length": True,
        "flags": _FASTEST,
    },
    "... batch 2 x 4": {**_STEP, "batch": 2, "accumulate": 4, "flags": _FASTEST},
    "... batch 1 x 8": {**_STEP, "batch": 1, "accumulate": 8, "flags": _FASTEST},
    "... FlashAttention": {**_STEP, "attention": "flash_attention_2", "flags": _FASTEST},
    "... FlashAttention, no padding": {
        **_STEP,
        "attention": "flash_attention_2",
        "flags": {**_FASTEST, "padding_free": True},
    },
    "... Liger": {**_STEP, "flags": {**_FASTEST, "use_liger_kernel": True}},
}
"""`...` goes on from the reference before in batches of 32. A pass holds at most the eight pairs of
a step; packages that are missing are named, not installed."""
