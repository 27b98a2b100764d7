"""What training runs on: device, precision, threads, determinism. Loads and saves policies."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from dpo_core.allocator import keep_freed_memory
from dpo_core.errors import ChildFailed
from dpo_core.resident_memory import forget_peak_resident, peak_resident_bytes
from dpo_core.training.results import RuntimeFacts

VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}


@dataclass(frozen=True)
class Runtime:
    """The device of a round, and the precision of its forward passes."""

    device: torch.device
    compute_dtype: torch.dtype

    def autocast(self) -> AbstractContextManager[Any]:
        """Run forward passes in `compute_dtype`; weights and optimiser stay float32."""
        if self.compute_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.compute_dtype)

    def facts(self) -> RuntimeFacts:
        """Facts recorded about the run."""
        return RuntimeFacts(
            device=self.device.type,
            dtype=str(self.compute_dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            peak_memory_gib=self.peak_memory_gib(),
        )

    def peak_memory_gib(self) -> float:
        """Peak memory of this process since `prepare`: the GPU's if it has one."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**30
        return peak_resident_bytes() / 2**30


def prepare(
    threads: int, seed: int, compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
) -> Runtime:
    """Fix threads, seeds and deterministic algorithms; choose the device and the precision."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic cuBLAS
    torch.set_num_threads(threads)
    keep_freed_memory()  # for the next micro-batch: about a tenth of a round on CPU
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling every new buffer, in case it is read before it is written, took 7 % of a round on CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    forget_peak_resident()
    return Runtime(device, _dtype(device, compute_dtype))


def out_of_memory_error(error: torch.OutOfMemoryError) -> ChildFailed:
    """Ratchet's error for torch's."""
    return ChildFailed(
        f"training ran out of device memory: {str(error).splitlines()[0]}",
        "Lower training.micro_batch_tokens (results stay the same) or sft.batch_size.",
    )


def _dtype(device: torch.device, wanted: str) -> torch.dtype:
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted == "bfloat16" or (wanted == "auto" and native):
        return torch.bfloat16
    return torch.float32


def load_master(policy_dir: Path, device: torch.device) -> Any:
    """Load the policy with float32 weights, dropout off.

    bfloat16's 8 bits would lose updates at learning rates such as 5e-7.
    """
    return load_weights(policy_dir, device, torch.float32)


def load_weights(policy_dir: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the policy in this dtype, dropout off."""
    attention = attention_for(AutoConfig.from_pretrained(policy_dir))
    model = AutoModelForCausalLM.from_pretrained(
        policy_dir, dtype=dtype, attn_implementation=attention
    )
    return model.to(device).eval()


def attention_for(config: Any) -> str | None:
    """The attention implementation for a config; None leaves the choice to transformers.

    transformers' `sdpa` silently ignores the soft cap of attention scores (Gemma 2), which the
    sampling engine applies.
    """
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    return "eager" if capped else None


def save_policy(model: Any, tokenizer: Any, out_dir: Path) -> None:
    """Write a policy as `save_pretrained` does: safetensors, config and tokenizer."""
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)


def load_tokenizer(policy_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(policy_dir)
