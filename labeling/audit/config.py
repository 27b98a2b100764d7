"""Configuration of the audit. Loading it imports nothing heavy."""

from pydantic import Field

from dpo_core.config import Positive, Section, Share


class AuditConfig(Section):
    """When a round's preferences are not trained on. Shares are of the pairs selected."""

    max_dropped_share: Share = Field(
        0.95, description="of pairs without a preference, whatever the reason"
    )
    max_truncated_share: Share = 1.0
    max_ties_share: Share = 1.0
    max_near_duplicates_share: Share = 0.5
    near_duplicate_at: Share = Field(0.95, description="similarity of two texts, 1: equal")
    max_length_ratio: Positive = Field(
        3.0, description="mean tokens of chosen to rejected answers, or the other way round"
    )
    max_same_side_share: Share = Field(
        0.95, description="of verdicts that name the same side, a or b"
    )
