"""Parquet schemas of what training leaves behind: its curves and the reference log-probs."""

import pyarrow as pa

_VOLATILE = {"volatile": "true"}

DPO_CURVE = pa.schema(
    [
        ("step", pa.int32()),
        ("loss", pa.float64()),
        ("accuracy", pa.float64()),
        ("margin", pa.float64()),
        ("chosen_logratio", pa.float64()),
        ("rejected_logratio", pa.float64()),
        ("gradient_weight", pa.float64()),
        ("gradient_norm", pa.float64()),
        ("learning_rate", pa.float64()),
        ("pairs", pa.int32()),
        pa.field("seconds", pa.float64(), metadata=_VOLATILE),
    ]
)
"""One row per optimiser step, measured before its update; `gradient_norm` before clipping."""

SFT_CURVE = pa.schema(
    [
        ("step", pa.int32()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("tokens", pa.int32()),
        pa.field("seconds", pa.float64(), metadata=_VOLATILE),
    ]
)
"""One row per optimiser step; `loss` in nats per completion token, of which there are `tokens`."""

REFERENCE_LOGPS = pa.schema(
    [
        ("policy", pa.string()),
        ("pair_id", pa.string()),
        ("chosen", pa.float64()),
        ("rejected", pa.float64()),
    ]
)
"""Log-probs of the pairs' completions, nats, under the weights whose hash is `policy`."""
