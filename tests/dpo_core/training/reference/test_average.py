"""A policy between two others: tensor by tensor, in float32, however the files are cut."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_core.errors import BadInput
from dpo_core.hashing import policy_id
from dpo_core.training.jobs import AverageJob
from dpo_core.training.reference.average import average_policies

from ..conftest import build_tiny


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    build_tiny(folder, seed=7)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t for file in folder.glob("*.safetensors") for name, t in load_file(file).items()}


def average(start: Path, target: Path, out: Path, rate: float) -> Path:
    job = AverageJob(from_dir=start, to_dir=target, out_dir=out, rate=rate)
    made = average_policies(job, lambda done, total, unit: None)
    assert made.policy == policy_id(out)
    return out


@pytest.mark.parametrize("cut", ["5GB", "20KB"], ids=["one file", "many files"])
def test_the_share_of_the_way(tiny: Path, other: Path, tmp_path: Path, cut: str) -> None:
    policy = AutoModelForCausalLM.from_pretrained(tiny)
    policy.to(torch.bfloat16).save_pretrained(tmp_path / "start", max_shard_size=cut)
    policy = AutoModelForCausalLM.from_pretrained(other, dtype=torch.float32)
    policy.save_pretrained(tmp_path / "target", max_shard_size=cut)
    AutoTokenizer.from_pretrained(other).save_pretrained(tmp_path / "target")
    assert (len(list((tmp_path / "target").glob("*.safetensors"))) > 1) == (cut == "20KB")
    out = average(tmp_path / "start", tmp_path / "target", tmp_path / "out", 0.25)
    start, target, found = (weights(tmp_path / name) for name in ("start", "target", "out"))
    assert found.keys() == target.keys()
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        exact = 0.75 * start[name].double() + 0.25 * target[name].double()
        torch.testing.assert_close(tensor.double(), exact, rtol=0, atol=1e-7)
    loaded = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(
        dict(loaded.named_parameters())["lm_head.weight"].data, found["lm_head.weight"]
    )
    AutoTokenizer.from_pretrained(out)


def test_the_whole_way_is_the_policy(tiny: Path, other: Path, tmp_path: Path) -> None:
    assert policy_id(average(tiny, other, tmp_path / "out", 1.0)) == policy_id(other)


def test_policies_of_two_forms_have_none_between(tiny: Path, tmp_path: Path) -> None:
    build_tiny(tmp_path / "wide", seed=0, hidden=64)
    with pytest.raises(BadInput, match="do not match, so there is no average"):
        average(tiny, tmp_path / "wide", tmp_path / "out", 0.5)
