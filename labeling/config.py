"""The config sections of labeling; each is defined beside the code that reads it."""

from labeling.aggregation.config import AggregationConfig
from labeling.audit.config import AuditConfig
from labeling.judges.config import JudgeConfig
from labeling.pairs.config import PairsConfig
from labeling.people.config import BudgetConfig, PeopleConfig

__all__ = [
    "AggregationConfig",
    "AuditConfig",
    "BudgetConfig",
    "JudgeConfig",
    "PairsConfig",
    "PeopleConfig",
]
