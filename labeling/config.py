"""The sections of a config that labeling reads, each beside the code it steers."""

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
