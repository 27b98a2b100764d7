"""LoRA and rsLoRA with peft: a round trains adapters and saves full weights.

W' = W + s·B·A with A (rank, in), B (out, rank); s = alpha / rank (LoRA, arXiv:2106.09685) or
alpha / √rank (rsLoRA, arXiv:2312.03732). B starts at 0, so the policy starts as its reference.
"""

import copy
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from dpo_core.config import LoraConfig
from dpo_core.errors import BadInput
from dpo_core.hashing import derive_seed
from dpo_core.training.processes.sharded import gather_tensor
from dpo_core.training.runtime import load_master, load_tokenizer, save_policy

_CPU = torch.device("cpu")


def adapt(model: Any, config: LoraConfig, seed: int, compute_dtype: torch.dtype) -> Any:
    """Add fresh adapters to `model` in place and freeze the rest. Returns peft's view of it.

    Raises BadInput for target modules that do not exist or cannot be adapted.
    """
    import peft  # half a second at start-up, which few rounds need

    _check_targets(model, config.target_modules)
    torch.manual_seed(derive_seed(seed, "lora"))
    peft_config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=config.rank,
        lora_alpha=config.alpha,
        use_rslora=config.rslora,
        target_modules=config.target_modules,
    )
    try:
        adapted = peft.get_peft_model(model, peft_config)
    except ValueError as error:
        raise BadInput(
            f"peft cannot adapt {type(model).__name__}: {error}", "Change training.lora."
        ) from error
    adapted.eval()
    _narrow_frozen(model, compute_dtype)
    return adapted


def save_merged(
    adapted: Any, policy_dir: Path, out_dir: Path, adapter_dir: Path | None, *, writes: bool = True
) -> None:
    """Write the adapted policy as full weights to `out_dir`, and its adapters to `adapter_dir`.

    Adapters are added, in float32 on the CPU, to the weights of `policy_dir` on disk. A collective
    call where they are sharded among processes; the one with `writes` writes.
    """
    import peft

    matrices = {
        name: gather_tensor(tensor).contiguous().cpu()
        for name, tensor in peft.get_peft_model_state_dict(
            adapted, save_embedding_layers=False
        ).items()
    }
    if not writes:
        return
    config = copy.copy(adapted.peft_config["default"])
    # A set's order varies between processes; the policy's path is not part of the adapters.
    config.target_modules = sorted(config.target_modules)
    config.base_model_name_or_path = None
    if adapter_dir is not None:
        config.save_pretrained(adapter_dir)
        save_file(matrices, adapter_dir / "adapter_model.safetensors")
    whole = peft.get_peft_model(load_master(policy_dir, _CPU), config)
    left_over = peft.set_peft_model_state_dict(whole, matrices).unexpected_keys
    assert not left_over, f"peft found no place for {left_over}"
    save_policy(whole.merge_and_unload(), load_tokenizer(policy_dir), out_dir)


def _check_targets(model: Any, targets: str | Collection[str]) -> None:
    if isinstance(targets, str):
        return
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    head = model.get_output_embeddings()
    adaptable = {
        name.rpartition(".")[2] for name in linear if model.get_submodule(name) is not head
    }
    if unknown := sorted(set(targets) - adaptable):
        raise BadInput(
            f"training.lora.target_modules: {unknown[0]} is not a linear layer of "
            f"{type(model).__name__} that can be adapted (the output head cannot)",
            f"Choose from {', '.join(sorted(adaptable))}, or all-linear.",
        )


def _narrow_frozen(model: Any, dtype: torch.dtype) -> None:
    """Convert frozen matrices of linear layers to `dtype`, to which autocast rounds them anyway.

    A matrix shared with the embeddings stays float32, because autocast does not round it there.
    """
    embeddings = model.get_input_embeddings().weight
    for module in model.modules():
        if not isinstance(module, nn.Linear) or module.weight is embeddings:
            continue
        if not module.weight.requires_grad:
            module.weight.data = module.weight.data.to(dtype)
