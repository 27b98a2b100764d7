"""Training curves and reference log-probs: the rows of their parquet files, and the schemas."""

from typing import Annotated, TypedDict

from dpo_core.row_types import VOLATILE, Int32, VolatileFloat
from dpo_core.tables import schema_of


class DpoCurveRow(TypedDict):
    """One optimiser step, measured before its update; `gradient_norm` before clipping.

    What is compared with a reference is None without one. margin_spread: standard deviation of the
    step's margins. entropy: of the policy, nats per completion token, estimated at about 32
    positions of the step. length_correlation: of log-ratios with lengths. chosen_tokens,
    rejected_tokens: mean length of the completions. tokens: of prompts, counted once, and of both
    completions. padding_share: of the tokens that went through the model. flops_per_second: useful
    operations (metrics.pair_flops); mfu: these as a share of the device's peak. peak_memory_gib: of
    the process so far.
    """

    step: Int32
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
    pairs: Int32
    tokens: int
    padding_share: float
    seconds: VolatileFloat
    tokens_per_second: VolatileFloat
    flops_per_second: VolatileFloat
    mfu: Annotated[float | None, VOLATILE]
    peak_memory_gib: VolatileFloat


class SftCurveRow(TypedDict):
    """One optimiser step; `loss` in nats per completion token, `tokens` of them."""

    step: Int32
    loss: float
    learning_rate: float
    tokens: Int32
    seconds: VolatileFloat


class ReferenceLogpsRow(TypedDict):
    """Log-probs of a pair's completions, nats, under the weights whose hash is `policy`."""

    policy: str
    pair_id: str
    chosen: float
    rejected: float


DPO_CURVE = schema_of(DpoCurveRow)
SFT_CURVE = schema_of(SftCurveRow)
REFERENCE_LOGPS = schema_of(ReferenceLogpsRow)
