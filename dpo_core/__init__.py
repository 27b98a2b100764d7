"""Records, config and campaign store; the mathematics of DPO, its trainer and its statistics.

The mathematics is offered here by name and loaded on first use, so that the orchestrator, which
needs records and config only, never loads torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpo_core.preference.loss_functions import LOSSES
    from dpo_core.preference.losses import preference_loss
    from dpo_core.preference.pair_logps import PairLogps, completion_logps
    from dpo_core.preference.pair_metrics import PreferenceMetrics, preference_metrics
__all__ = [
    "LOSSES",
    "PairLogps",
    "PreferenceMetrics",
    "completion_logps",
    "preference_loss",
    "preference_metrics",
]

_HOME = {
    "LOSSES": "dpo_core.preference.loss_functions",
    "PairLogps": "dpo_core.preference.pair_logps",
    "PreferenceMetrics": "dpo_core.preference.pair_metrics",
    "completion_logps": "dpo_core.preference.pair_logps",
    "preference_loss": "dpo_core.preference.losses",
    "preference_metrics": "dpo_core.preference.pair_metrics",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
