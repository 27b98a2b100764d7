"""Precision of sampling, training and judging on a CPU, chosen when a campaign is created."""

from dpo_core.errors import BadInput
from dpo_core.processor import has_bfloat16, has_gpu
from flows.config.campaign import CampaignConfig
from flows.config.raw import RawConfig

KEYS = (("sampling", "dtype"), ("training", "compute_dtype"))


def with_precision(config: CampaignConfig, stored: RawConfig | None = None) -> CampaignConfig:
    """`config` with `auto` replaced by the value in the campaign's `stored` config or, without
    one, by the best one for this machine.

    `auto` means bfloat16 on a GPU and float32 on a CPU. It stays in campaigns that store it, and
    for a policy that a function builds: those are small, and faster in float32.
    Raises BadInput for a campaign in bfloat16 on a CPU without bfloat16 instructions.
    """
    missing = []
    for section, key in KEYS:
        part = getattr(config, section)
        if getattr(part, key) != "auto":
            continue
        value = stored.get(f"{section}.{key}", "auto") if stored else _best(config)
        if value == "bfloat16" and not (has_bfloat16() or has_gpu()):
            missing.append(f"{section}.{key}")
        config = config.model_copy(update={section: part.model_copy(update={key: value})})
    if missing:
        raise BadInput(
            f"the campaign runs in bfloat16 ({', '.join(missing)}), for which this CPU has no "
            "instructions",
            "Resume it on a CPU with AMX or AVX512-BF16. Or run every round again in float32: "
            f"{' '.join(f'--set {key}=float32' for key in missing)}",
        )
    return config


def _best(config: CampaignConfig) -> str:
    if config.policy.model is None or has_gpu():
        return "auto"
    return "bfloat16" if has_bfloat16() else "float32"
