"""Records, config and campaign store; the mathematics of DPO, its trainer and its statistics.

The public functions below are loaded on first use, so the orchestrator, which needs records and
config only, never loads torch.

Example:
    >>> from dpo_core import win_rate
    >>> win_rate([1, 0.5, 0, 1]).estimate
    0.625
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpo_core.evaluation.length_control import length_controlled_win_rate
    from dpo_core.evaluation.ratings import bradley_terry
    from dpo_core.evaluation.statistics import win_rate
    from dpo_core.preference.loss_functions import LOSSES
    from dpo_core.preference.losses import preference_loss
    from dpo_core.preference.pair_logps import PairLogps, completion_logps
    from dpo_core.preference.pair_metrics import PreferenceMetrics, preference_metrics
__all__ = [
    "LOSSES",
    "PairLogps",
    "PreferenceMetrics",
    "bradley_terry",
    "completion_logps",
    "length_controlled_win_rate",
    "preference_loss",
    "preference_metrics",
    "win_rate",
]

_MODULES = {
    "LOSSES": "dpo_core.preference.loss_functions",
    "PairLogps": "dpo_core.preference.pair_logps",
    "PreferenceMetrics": "dpo_core.preference.pair_metrics",
    "bradley_terry": "dpo_core.evaluation.ratings",
    "completion_logps": "dpo_core.preference.pair_logps",
    "length_controlled_win_rate": "dpo_core.evaluation.length_control",
    "preference_loss": "dpo_core.preference.losses",
    "preference_metrics": "dpo_core.preference.pair_metrics",
    "win_rate": "dpo_core.evaluation.statistics",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
