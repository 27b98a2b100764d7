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
    """When a round's preferences are not trained on; docs/audit.md says what each finding is."""

    allow: list[FindingName] = Field(
        [], description="findings that are told, but do not stop the round"
    )
    max_dropped_share: Share = Field(
        0.95, description="of the pairs that were judged: without a preference, whatever the reason"
    )
    max_truncated_share: Share = Field(
        1.0, description="of the pairs wanted: not chosen, for answers cut at the length limit"
    )
    max_ties_share: Share = Field(
        1.0, description="of the pairs that were judged: tied, or both answers bad"
    )
    max_near_duplicates_share: Share = Field(0.5, description="of the preferences")
    near_duplicate_at: Share = Field(0.95, description="similarity of two texts, 1: equal")
    max_overlap_share: Share = Field(
        1.0, description="of the preferences: whose prompt shares words with a held-out one"
    )
    overlap_words: Count = Field(13, description="words in a row that count as shared")
    max_length_ratio: Ratio = Field(
        10.0, description="mean tokens of chosen to rejected answers, or the other way round"
    )
    max_same_side_share: Share = Field(
        0.95, description="of a source's verdicts: those that name the same side, a or b"
    )
    fewest: Count = Field(
        20, description="preferences or verdicts below which a distribution says nothing"
    )
