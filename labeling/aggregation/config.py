"""Configuration of aggregation and calibration. Loading it imports nothing heavy."""

from typing import Literal

from pydantic import Field

from dpo_core.config import Count, PositiveShare, Section, Share


class AggregationConfig(Section):
    """How the judgements of one pair become a preference, and how certain it is."""

    method: Literal["auto", "majority", "dawid_skene"] = Field(
        "auto",
        description="auto: Dawid-Skene where at least three sources overlap by `min_overlap` "
        "pairs, else majority; dawid_skene: wherever three sources share a pair",
    )
    min_overlap: Count = Field(
        50,
        description="pairs with three votes or more that each of at least three sources has a "
        "vote on, before `auto` estimates how they err",
    )
    targets: Literal["auto", "soft", "hard"] = Field(
        "auto",
        description="soft: p_chosen is the loss's target; hard: 1; auto: soft where several "
        "sources judged the same pairs and the loss takes it",
    )
    calibrate: bool = Field(
        False,
        description="fit the judge's confidence to people's answers of earlier rounds; pairs it is "
        "not reliable on go to people",
    )
    reliable_at: Share = Field(0.8, description="least chance of being right to be left alone")
    drift_alarm: PositiveShare = Field(
        0.1, description="fall of a source's agreement between rounds that is pointed out"
    )
