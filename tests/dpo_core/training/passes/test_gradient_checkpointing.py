"""Layers that are computed again in backward: less is kept, no number moves, dropout stays off."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from dpo_core.config import TrainingConfig
from dpo_core.errors import BadInput
from dpo_core.tables import read_rows
from dpo_core.training.jobs import DpoJob
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.passes.choose_path import choose_path
from dpo_core.training.passes.gradient_checkpointing import checkpoint_layers
from dpo_core.training.runtime import load_master, prepare
from dpo_core.training.trainer import train_round

from ..conftest import sentiment

MakeJob = Callable[..., DpoJob]
COLUMNS = ["loss", "margin", "chosen_logratio", "gradient_norm"]


def trained(job: DpoJob) -> tuple[np.ndarray, dict[str, Tensor]]:
    train_round(job, lambda *_: None)
    curve = np.array([[row[name] for name in COLUMNS] for row in read_rows(job.curve_path)])
    return curve, load_file(job.out_dir / "model.safetensors")


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("path", ["fast", "plain"])
def test_moves_no_number(make_job: MakeJob, path: str, dtype: str, lora: Any) -> None:
    options = {"path": path, "compute_dtype": dtype, "lora": lora, "epochs": 2}
    kept, kept_weights = trained(make_job("kept", *sentiment(21), **options))
    again = make_job("again", *sentiment(21), **options, gradient_checkpointing=True)
    curve, weights = trained(again)
    assert np.abs(curve - kept).max() < 1e-6
    assert kept[-1, 1] > 1e-3, "something was learnt"
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, kept_weights[name], rtol=0, atol=1e-6)


def bytes_kept(job: DpoJob) -> int:
    """Bytes that autograd keeps between forward and backward, weights aside, each counted once."""
    runtime = prepare(1, 0, "float32")
    model = load_master(job.policy_dir, runtime.device)
    if job.config.gradient_checkpointing:
        checkpoint_layers(model)
    pairs = load_pairs(job.preferences, job.completions)
    path, _ = choose_path(model, pairs, job.config, runtime)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    def slopes(_: Any, tokens: Any) -> Tensor:
        counted.append(sum(seen.values()))  # asked for when forward is done
        return torch.ones_like(tokens.logps_N)

    counted: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        path.backward(pairs, slopes)
    return counted[0]


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_keeps_less(make_job: MakeJob, path: str) -> None:
    plain, again = (
        bytes_kept(make_job(name, *sentiment(24), path=path, gradient_checkpointing=on))
        for name, on in (("kept", False), ("again", True))
    )
    # What is kept besides is the input of each layer, and on the plain path the logits.
    assert again < 0.35 * plain


def test_no_dropout_comes_on(make_job: MakeJob) -> None:
    """OPT's layers drop by their own training flag, at a rate that is a plain number."""
    config = transformers.OPTConfig(
        vocab_size=30, hidden_size=16, ffn_dim=16, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, word_embed_proj_dim=16, dropout=0.5, attention_dropout=0.5,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(3, 30, (1, 12))
    before = model(ids).logits
    checkpoint_layers(model)
    torch.testing.assert_close(model(ids).logits, before, rtol=0, atol=0)
    assert not any(module.training for module in model.modules())


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(BadInput, match="gradient_checkpointing: false"):
        checkpoint_layers(torch.nn.Linear(2, 2))


def test_is_off_unless_asked_for() -> None:
    assert TrainingConfig().gradient_checkpointing is False
