"""Parquet schemas of training curves and reference log-probs, with the types of their rows."""

from typing import TypedDict

import pyarrow as pa

_VOLATILE = {"volatile": "true"}

DPO_CURVE = pa.schema(
    [
        ("step", pa.int32()),
        ("loss", pa.float64()),
        ("accuracy", pa.float64()),
        ("margin", pa.float64()),
        ("margin_spread", pa.float64()),
        ("implicit_reward_chosen", pa.float64()),
        ("implicit_reward_rejected", pa.float64()),
        ("chosen_logratio", pa.float64()),
        ("rejected_logratio", pa.float64()),
        ("gradient_weight", pa.float64()),
        ("gradient_norm", pa.float64()),
        ("learning_rate", pa.float64()),
        ("entropy", pa.float64()),
        ("length_correlation", pa.float64()),
        ("chosen_tokens", pa.float64()),
        ("rejected_tokens", pa.float64()),
        ("pairs", pa.int32()),
        ("tokens", pa.int64()),
        ("padding_share", pa.float64()),
        pa.field("seconds", pa.float64(), metadata=_VOLATILE),
        pa.field("tokens_per_second", pa.float64(), metadata=_VOLATILE),
        pa.field("flops_per_second", pa.float64(), metadata=_VOLATILE),
        pa.field("mfu", pa.float64(), metadata=_VOLATILE),
        pa.field("peak_memory_gib", pa.float64(), metadata=_VOLATILE),
    ]
)
"""One row per optimiser step, measured before its update; `gradient_norm` before clipping.

margin_spread: standard deviation of the step's margins. entropy: of the policy, nats per completion
token, estimated at about 32 positions of the step. length_correlation: of log-ratios with lengths.
chosen_tokens, rejected_tokens: mean length of the completions. tokens: of prompts, counted once,
and of both completions. padding_share: of the tokens that went through the model.
flops_per_second: useful operations (metrics.pair_flops); mfu: these as a share of the device's
peak. peak_memory_gib: of the process so far.
"""


class DpoCurveRow(TypedDict):
    """A row of DPO_CURVE. Without a reference all that is compared with it is None."""

    step: int
    loss: float
    accuracy: float | None
    margin: float | None
    margin_spread: float | None
    implicit_reward_chosen: float | None
    implicit_reward_rejected: float | None
    chosen_logratio: float | None
    rejected_logratio: float | None
    gradient_weight: float | None
    gradient_norm: float
    learning_rate: float
    entropy: float | None
    length_correlation: float | None
    chosen_tokens: float
    rejected_tokens: float
    pairs: int
    tokens: int
    padding_share: float
    seconds: float
    tokens_per_second: float
    flops_per_second: float
    mfu: float | None
    peak_memory_gib: float


SFT_CURVE = pa.schema(
    [
        ("step", pa.int32()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("tokens", pa.int32()),
        pa.field("seconds", pa.float64(), metadata=_VOLATILE),
    ]
)
"""One row per optimiser step; `loss` in nats per completion token, `tokens` of them."""


class SftCurveRow(TypedDict):
    """A row of SFT_CURVE."""

    step: int
    loss: float
    learning_rate: float
    tokens: int
    seconds: float


REFERENCE_LOGPS = pa.schema(
    [
        ("policy", pa.string()),
        ("pair_id", pa.string()),
        ("chosen", pa.float64()),
        ("rejected", pa.float64()),
    ]
)
"""Log-probs of the pairs' completions, nats, under the weights whose hash is `policy`."""


class ReferenceLogpsRow(TypedDict):
    """A row of REFERENCE_LOGPS."""

    policy: str
    pair_id: str
    chosen: float
    rejected: float
