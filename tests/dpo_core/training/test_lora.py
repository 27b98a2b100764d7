"""Adapters: trained alone, merged exactly, saved as an ordinary policy that engines load."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from dpo_core.children import Child
from dpo_core.config import LoraConfig, TrainingConfig
from dpo_core.errors import BadInput
from dpo_core.hashing import policy_id
from dpo_core.schemas import COMPLETIONS
from dpo_core.tables import read_rows, write_rows
from dpo_core.training.jobs import DpoJob
from dpo_core.training.lora import adapt, save_merged
from dpo_core.training.optimiser import make_optimiser
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.passes.fast_path import FastPath
from dpo_core.training.passes.plain_path import PlainPath
from dpo_core.training.runtime import Runtime, load_master
from dpo_core.training.trainer import train_round
from generation.config import SamplingConfig
from generation.jobs import ScoreJob

from .conftest import EOS, VOCABULARY, make_tokenizer, sentiment, trained_elsewhere

MakeJob = Callable[..., DpoJob]
CPU = torch.device("cpu")
IDS = torch.tensor([[1, 12, 13, 16, 5, 2], [1, 17, 15, 9, 11, 20]])


def quiet(*_: Any) -> None:
    pass


def logits(folder: Path) -> Tensor:
    with torch.no_grad():
        found: Tensor = AutoModelForCausalLM.from_pretrained(folder).eval()(IDS).logits
    return found


def shaken(policy: Path, config: LoraConfig, dtype: torch.dtype = torch.float32) -> Any:
    """The policy with adapters that do something, as after training."""
    adapted = adapt(load_master(policy, CPU), config, 0, dtype)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return adapted


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose output head is its embeddings."""
    folder = tmp_path_factory.mktemp("tied")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(VOCABULARY), hidden_size=128, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
        initializer_range=0.1, tie_word_embeddings=True, bos_token_id=1, eos_token_id=EOS,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("kind", ["tiny", "tied"])
def test_merged_policy_computes_what_the_adapted_one_does(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, rslora: bool
) -> None:
    policy: Path = request.getfixturevalue(kind)
    adapted = shaken(policy, LoraConfig(rank=4, rslora=rslora))
    with torch.no_grad():
        expected = adapted(IDS).logits
    assert (expected - logits(policy)).abs().max() > 0.1
    save_merged(adapted, policy, tmp_path / "policy", tmp_path / "adapter")
    torch.testing.assert_close(logits(tmp_path / "policy"), expected, rtol=0, atol=2e-5)

    # The adapters beside it, put on the policy that they were trained from, say the same.
    base = AutoModelForCausalLM.from_pretrained(policy)
    with torch.no_grad():
        again = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()(IDS).logits
    torch.testing.assert_close(again, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", ["tiny", "tied"])
def test_merged_policy_is_an_ordinary_one(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    policy: Path = request.getfixturevalue(kind)
    save_merged(shaken(policy, LoraConfig()), policy, tmp_path, None)
    before, after = (load_file(folder / "model.safetensors") for folder in (policy, tmp_path))
    assert before.keys() == after.keys()
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    for name, tensor in after.items():
        changed = not torch.equal(tensor, before[name])
        assert changed == name.endswith("_proj.weight"), name
    for name in ("config.json", "generation_config.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((policy / name).read_text())
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in policy.iterdir()}


def test_delta_is_the_papers(tiny: Path, tmp_path: Path) -> None:
    """W' − W = s·B·A with s = alpha / rank, or alpha / √rank with rsLoRA."""
    name = "model.layers.0.self_attn.q_proj"
    for rslora, scale in ((False, 8 / 4), (True, 8 / math.sqrt(4))):
        config = LoraConfig(rank=4, alpha=8, rslora=rslora, target_modules=["q_proj"])
        folder = tmp_path / str(rslora)
        save_merged(shaken(tiny, config), tiny, folder / "policy", folder / "adapter")
        low = load_file(folder / "adapter" / "adapter_model.safetensors")
        a, b = (low[f"base_model.model.{name}.lora_{x}.weight"] for x in "AB")
        assert a.shape == (4, 32) and b.shape == (32, 4)
        whole, old = (
            load_file(f / "model.safetensors")[f"{name}.weight"] for f in (folder / "policy", tiny)
        )
        torch.testing.assert_close(whole - old, scale * (b @ a), rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_a_round_learns_from_the_reference_on(make_job: MakeJob, tiny: Path, path: str) -> None:
    job = make_job("round", *sentiment(48), path=path, epochs=4, learning_rate=5e-3, lora={})
    job = job.model_copy(update={"adapter_dir": job.out_dir.parent / "adapter"})
    result = train_round(job, quiet)
    assert result.path == path
    assert result.first_loss == pytest.approx(math.log(2), abs=1e-5)
    assert result.first_margin_max < 1e-4
    assert result.accuracy > 0.9 and result.margin > 1
    assert result.reference_policy == policy_id(tiny) != result.policy
    # Per layer: q, k, v, o of 32×32 and gate, up, down between 32 and 64, at rank 16.
    assert result.trained_parameters == 2 * 16 * (4 * (32 + 32) + 3 * (32 + 64))
    # What was learnt is in the saved weights: a round that starts there finds it as its reference.
    rows = read_rows(job.reference_logps_path)
    after = make_job("after", *sentiment(48), policy_dir=job.out_dir, path=path, learning_rate=1e-9)
    train_round(after, quiet)
    moved = {row["pair_id"]: row for row in read_rows(after.reference_logps_path)}
    margins = [
        moved[row["pair_id"]]["chosen"] - row["chosen"]
        - (moved[row["pair_id"]]["rejected"] - row["rejected"])
        for row in rows
    ]  # fmt: skip
    assert sum(margin > 0 for margin in margins) / len(margins) > 0.9
    assert sum(margins) / len(margins) > result.margin  # whose mean is over the last epoch


def test_paths_find_the_same_curve(make_job: MakeJob) -> None:
    curves = []
    for path in ("fast", "plain"):
        job = make_job(path, *sentiment(21), path=path, epochs=2, lora={"rank": 4})
        train_round(job, quiet)
        curves.append([[row[n] for n in ("loss", "margin", "gradient_norm")]
                       for row in read_rows(job.curve_path)])  # fmt: skip
    torch.testing.assert_close(*map(torch.tensor, curves), rtol=0, atol=1e-5)


def test_only_adapters_reach_the_optimiser(tiny: Path) -> None:
    model = load_master(tiny, CPU)
    adapt(model, LoraConfig(rank=2), 0, torch.float32)
    optimiser = make_optimiser(model.parameters(), 1e-4)
    trained = {id(p) for group in optimiser.param_groups for p in group["params"]}
    names = [name for name, p in model.named_parameters() if id(p) in trained]
    assert len(names) == 2 * 2 * 7 and all("lora_" in name for name in names)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["fast", "plain"])
@pytest.mark.parametrize("kind", ["tiny", "tied"])
def test_frozen_matrices_in_bfloat16_move_no_number(
    request: pytest.FixtureRequest, make_job: MakeJob, kind: str, name: str
) -> None:
    """Autocast to bfloat16 computes the same bits from float32 matrices and from rounded ones."""
    job = make_job("round", *sentiment(16))
    pairs = load_pairs(job.preferences, job.completions)
    runtime = Runtime(CPU, torch.bfloat16)
    found = []
    for stored in (torch.float32, torch.bfloat16):
        adapted = shaken(request.getfixturevalue(kind), LoraConfig(), stored)
        model = adapted.get_base_model()
        path = (
            FastPath(model, runtime, head_rows=9) if name == "fast" else PlainPath(model, runtime)
        )
        path.backward(pairs, lambda _, tokens: torch.ones_like(tokens.logps_N))
        gradients = [p.grad for p in model.parameters() if p.requires_grad]
        assert all(gradient.abs().max() > 0 for gradient in gradients)
        found.append([path.logps(pairs).logps_N, *gradients])
    for wide, narrow in zip(*found, strict=True):
        assert torch.equal(wide, narrow)


def test_what_is_narrow_is_frozen_and_no_embedding(tied: Path, tmp_path: Path) -> None:
    adapted = shaken(tied, LoraConfig(), torch.bfloat16)
    dtypes = {
        ("lora_" in name, isinstance(module, nn.Linear) and "lm_head" not in name, weight.dtype)
        for name, module in adapted.named_modules()
        for weight in [getattr(module, "weight", None)]
        if isinstance(weight, Tensor) and not isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert dtypes == {
        (True, True, torch.float32),
        (False, True, torch.bfloat16),
        (False, False, torch.float32),
    }
    # Merged weights know nothing of bfloat16: untouched ones are bit-equal to the policy's.
    save_merged(adapted, tied, tmp_path / "narrow", None)
    save_merged(shaken(tied, LoraConfig()), tied, tmp_path / "wide", None)
    assert policy_id(tmp_path / "narrow") == policy_id(tmp_path / "wide")


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "query"])
def test_layers_that_cannot_be_adapted_are_refused(tiny: Path, target: str) -> None:
    config = LoraConfig(target_modules=["q_proj", target])
    with pytest.raises(BadInput, match=rf"target_modules: {target}(.|\n)*down_proj, gate_proj"):
        adapt(load_master(tiny, CPU), config, 0, torch.float32)


def test_adapters_do_not_take_old_moments() -> None:
    with pytest.raises(ValidationError, match="remove one of the two"):
        TrainingConfig(lora=LoraConfig(), optimiser_state="carried")


def test_two_processes_train_equal_adapters(make_job: MakeJob) -> None:
    """Another one and this one, whose hashes of texts differ."""
    jobs = []
    for name in ("there", "here"):
        job = make_job(name, *sentiment(12), lora={"rank": 4})
        jobs.append(job.model_copy(update={"adapter_dir": job.out_dir.parent / "adapter"}))
    trained_elsewhere(jobs[0])
    train_round(jobs[1], lambda *_: None)
    found = []
    for job in jobs:
        assert job.adapter_dir is not None
        files = sorted(job.adapter_dir.iterdir())
        assert [file.name for file in files] == [
            "adapter_config.json", "adapter_model.safetensors"
        ]  # fmt: skip
        found.append([policy_id(job.out_dir), *[file.read_bytes() for file in files]])
    assert found[0] == found[1]


@pytest.mark.slow
def test_vllm_computes_what_was_merged(tied: Path, tmp_path: Path) -> None:
    adapted = shaken(tied, LoraConfig(rank=8))
    save_merged(adapted, tied, tmp_path / "policy", None)
    completions, _ = sentiment(8)
    write_rows(tmp_path / "completions.parquet", completions, COMPLETIONS)
    environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with Child.start("generation.worker", tmp_path / "worker.log", environment) as child:
        job = ScoreJob(
            policy=tmp_path / "policy",
            config=SamplingConfig(max_tokens=8, max_model_len=32),
            source=tmp_path / "completions.parquet",
            out=tmp_path / "logps.parquet",
        )
        child.carry_out(job)
    found = {row["completion_id"]: row["logp"] for row in read_rows(tmp_path / "logps.parquet")}
    for row in completions:
        ids, prompt = row["prompt_token_ids"] + row["token_ids"], len(row["prompt_token_ids"])
        with torch.no_grad():
            logps = adapted(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = sum(logps[i - 1, ids[i]].item() for i in range(prompt, len(ids)))
        assert found[row["completion_id"]] == pytest.approx(expected, abs=1e-3)
