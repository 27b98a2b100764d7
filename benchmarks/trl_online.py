"""Options of TRL's OnlineDPOTrainer that all comparisons with it set alike."""

from collections.abc import Mapping
from typing import Any


def trl_options(job: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """For OnlineDPOConfig, on a CPU: the numbers of the recipe in `job`, and what is `own`."""
    return {
        "learning_rate": job["learning_rate"],
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": job["warmup_steps"],
        "beta": job["beta"],
        "temperature": 1.0,
        "max_new_tokens": job["max_tokens"],
        "max_length": job["max_model_len"],
        "gradient_checkpointing": False,
        "use_cpu": True,
        "seed": job["seed"],
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        **own,
    }
