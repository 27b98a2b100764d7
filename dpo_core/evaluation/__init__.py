"""Whether one policy is better than another: statistics, comparisons, a round's metrics."""

from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.length_control import length_controlled_win_rate
from dpo_core.evaluation.ratings import Ratings, bradley_terry
from dpo_core.evaluation.statistics import win_rate

__all__ = ["Interval", "Ratings", "bradley_terry", "length_controlled_win_rate", "win_rate"]
