"""Configuration of aggregation and calibration. Loading it imports nothing heavy."""

from typing import Literal

from pydantic import Field

from dpo_core.config import Count, PositiveShare, Section, Share


class AggregationConfig(Section):
    """How the judgements of a pair become a preference and its probability."""

    method: Literal["auto", "majority", "dawid_skene"] = Field(
        "auto",
        description="auto: Dawid-Skene where at least three sources overlap by `min_overlap` "
        "pairs, else majority; dawid_skene: wherever three sources share a pair",
    )
    min_overlap: Count = Field(
        50,
        description="pairs with at least three votes that each of three sources must share before "
        "`auto` estimates their error rates; with less overlap, a majority vote is more accurate",
    )
    targets: Literal["auto", "soft", "hard"] = Field(
        "auto",
        description="soft: p_chosen is the loss's target; hard: 1; auto: soft where several "
        "sources judged the same pairs and the loss takes it",
    )
    calibrate: bool = Field(
        False,
        description="fit the judge's confidence to people's answers of earlier rounds; pairs on "
        "which it is not reliable go to people",
    )
    reliable_at: Share = Field(
        0.8, description="least probability of being right for a judgement to be reliable"
    )
    drift_alarm: PositiveShare = Field(
        0.1, description="drop in a source's agreement or gold accuracy that raises an alarm"
    )
