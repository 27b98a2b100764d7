"""In which precision a campaign on a CPU samples, trains and judges: chosen when it is created."""

from collections.abc import Mapping
from typing import Any

from dpo_core.errors import BadInput
from dpo_core.processor import has_bfloat16, has_gpu
from flows.config.campaign import CampaignConfig

KEYS = (("sampling", "dtype"), ("training", "compute_dtype"))


def with_precision(config: CampaignConfig, stored: Mapping[str, Any]) -> CampaignConfig:
    """`config` with `auto` replaced by what the campaign's `stored` config says, or for a new one,
    where that is empty, by what is best here.

    `auto` stays in campaigns that have it on disk: it means bfloat16 on a GPU, float32 on a CPU.
    It stays for a policy that a function builds as well: such are small, and faster in float32.
    Raises BadInput where the campaign was begun in bfloat16 and this CPU cannot multiply it.
    """
    missing = []
    for section, key in KEYS:
        part = getattr(config, section)
        if getattr(part, key) != "auto":
            continue
        value = stored.get(section, {}).get(key, "auto") if stored else _best(config)
        if value == "bfloat16" and not (has_bfloat16() or has_gpu()):
            missing.append(f"{section}.{key}")
        config = config.model_copy(update={section: part.model_copy(update={key: value})})
    if missing:
        raise BadInput(
            f"the campaign was begun in bfloat16 ({', '.join(missing)}), which this CPU does not "
            "multiply",
            "Resume it on a CPU with AMX or AVX512-BF16. Or go on in float32, and every round runs "
            f"again: {' '.join(f'--set {key}=float32' for key in missing)}",
        )
    return config


def _best(config: CampaignConfig) -> str:
    if config.policy.model is None or has_gpu():
        return "auto"
    return "bfloat16" if has_bfloat16() else "float32"
