"""Fused layers compute what the model's own do, and are used only where they do."""

import copy
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.cohere import modeling_cohere
from transformers.models.gemma import modeling_gemma
from transformers.models.llama import modeling_llama

from dpo_core.training.passes.fused_functions import GatedMlp, Lookup, RmsNorm, Rotation
from dpo_core.training.passes.fused_layers import FusedLayers

SMALL = LlamaConfig(
    vocab_size=10,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    pad_token_id=0,
)
KEPT = {"rtol": 1e-5, "atol": 1e-6}


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), requires_grad=True)


def check(found: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    """Equal values, and equal gradients of a weighted sum by the inputs."""
    torch.testing.assert_close(found, expected, **KEPT)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((found * weights).sum(), inputs)
    theirs = torch.autograd.grad((expected * weights).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **KEPT)


@pytest.mark.parametrize("shape", [(1, 7, 16), (2, 3, 5, 16)])
def test_a_norm_is_the_models_own(shape: tuple[int, ...]) -> None:
    norm = modeling_llama.LlamaRMSNorm(16, eps=1e-3)
    nn.init.normal_(norm.weight)
    x = rows(*shape)
    check(RmsNorm.apply(x, norm.weight, 1e-3, torch.float32), norm(x), x, norm.weight)


def test_a_rotation_is_the_models_own() -> None:
    query, key = rows(1, 4, 6, 8), rows(1, 2, 6, 8)
    cos, sin = rows(1, 6, 8).detach(), rows(1, 6, 8).detach() * 2
    expected = modeling_llama.apply_rotary_pos_emb(query, key, cos, sin)
    for x, rotated in zip((query, key), expected, strict=True):
        check(Rotation.apply(x, cos[:, None], sin[:, None]), rotated, x)


@pytest.mark.parametrize("shape", [(1, 7, 16), (2, 3, 16)])
def test_a_gated_mlp_is_the_models_own(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    mlp = modeling_llama.LlamaMLP(SMALL)
    weights = mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight
    x = rows(*shape)
    check(GatedMlp.apply(x, *weights), mlp(x), x, *weights)


@pytest.mark.parametrize("padding", [None, 3])
def test_a_lookup_adds_to_the_gradient_of_its_table(padding: int | None) -> None:
    embedding = nn.Embedding(10, 4, padding_idx=padding)
    ids = torch.tensor([[1, 3, 1, 9, 3]])
    weights = rows(1, 5, 4).detach()
    (embedding(ids) * weights).sum().backward()
    assert embedding.weight.grad is not None
    expected = 2 * embedding.weight.grad
    found = Lookup.apply(embedding.weight, ids, padding)
    torch.testing.assert_close(found, embedding(ids), rtol=0, atol=0)
    (found * weights).sum().backward()
    torch.testing.assert_close(embedding.weight.grad, expected, **KEPT)


def test_layers_are_replaced_for_as_long_as_they_are_in_use() -> None:
    model = LlamaForCausalLM(SMALL)
    norms = [m for m in model.modules() if type(m).__name__ == "LlamaRMSNorm"]
    mlps = [layer.mlp for layer in model.model.layers]
    owners = [*norms, *mlps, model.get_input_embeddings()]
    usual = modeling_llama.apply_rotary_pos_emb
    with FusedLayers(model).in_use():
        assert all("forward" in vars(owner) for owner in owners)
        assert modeling_llama.apply_rotary_pos_emb is not usual
    assert not any("forward" in vars(owner) for owner in owners)
    assert modeling_llama.apply_rotary_pos_emb is usual


class _Halved(modeling_llama.LlamaRMSNorm):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return super().forward(hidden_states) / 2


class _GatedRMSNorm(modeling_llama.LlamaRMSNorm):
    def forward(self, hidden_states: Tensor, gate: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(hidden_states) * gate


@pytest.mark.parametrize("norm", [modeling_gemma.GemmaRMSNorm(16), _Halved(16), _GatedRMSNorm(16)])
def test_a_norm_that_computes_something_else_stays(norm: Any) -> None:
    model = LlamaForCausalLM(SMALL)
    model.model.norm = norm
    with FusedLayers(model).in_use():
        assert "forward" not in vars(norm)
        assert "forward" in vars(model.model.layers[0].input_layernorm)


def test_a_rotation_that_is_another_stays() -> None:
    """Cohere rotates neighbours, not halves."""
    model = LlamaForCausalLM(SMALL)
    model.strange = copy.deepcopy(modeling_cohere.CohereLayerNorm(4))
    usual = modeling_cohere.apply_rotary_pos_emb
    with FusedLayers(model).in_use():
        assert modeling_cohere in {sys.modules[type(m).__module__] for m in model.modules()}
        assert modeling_cohere.apply_rotary_pos_emb is usual


@pytest.mark.parametrize("other", [{"hidden_act": "gelu"}, {"mlp_bias": True}])
def test_an_mlp_that_computes_something_else_stays(other: dict[str, Any]) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SMALL.to_dict() | other))
    with FusedLayers(model).in_use():
        assert not any("forward" in vars(layer.mlp) for layer in model.model.layers)


@pytest.mark.parametrize("other", [{"max_norm": 1.0}, {"sparse": True}])
def test_an_embedding_with_rules_of_its_own_stays(other: dict[str, Any]) -> None:
    model = LlamaForCausalLM(SMALL)
    embedding = nn.Embedding(*model.get_input_embeddings().weight.shape, **other)
    model.set_input_embeddings(embedding)
    with FusedLayers(model).in_use():
        assert "forward" not in vars(embedding)
