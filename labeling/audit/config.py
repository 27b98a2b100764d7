"""Configuration of the audit. Loading it imports nothing heavy."""

from typing import Annotated, Literal

from pydantic import Field

from dpo_core.config import Count, Section, Share

FindingName = Literal[
    "dropped",
    "truncated",
    "ties",
    "identical_texts",
    "near_duplicates",
    "empty_answers",
    "eos_missing",
    "eos_doubled",
    "bos_missing",
    "bos_doubled",
    "contaminated",
    "held_out_overlap",
    "length_skew",
    "same_side",
]

Ratio = Annotated[float, Field(ge=1)]


class AuditConfig(Section):
    """When a round's preferences are not trained on; docs/audit.md explains each finding."""

    allow: list[FindingName] = Field(
        [], description="findings that are reported but do not stop the round"
    )
    max_dropped_share: Share = Field(
        0.95, description="largest share of judged pairs without preference, for any reason"
    )
    max_truncated_share: Share = Field(
        1.0, description="largest share of selected pairs with an answer cut at the length limit"
    )
    max_ties_share: Share = Field(
        1.0, description="largest share of judged pairs that are tied or both bad"
    )
    max_near_duplicates_share: Share = Field(
        0.5, description="largest share of preferences between near-duplicates"
    )
    near_duplicate_at: Share = Field(
        0.95, description="similarity from which two answers are near-duplicates; 1: equal"
    )
    max_overlap_share: Share = Field(
        1.0, description="largest share of preferences whose prompt overlaps a held-out one"
    )
    overlap_words: Count = Field(13, description="words in a row that count as overlap")
    max_length_ratio: Ratio = Field(
        10.0, description="largest ratio of mean tokens, chosen to rejected or the reverse"
    )
    max_same_side_share: Share = Field(
        0.95, description="largest share of a source's verdicts for the same side, a or b"
    )
    fewest: Count = Field(
        20, description="fewest preferences or verdicts for checks of length and side"
    )
