"""Which precision a campaign gets when it is created, and that it keeps it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_core import processor
from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from flows.config import CampaignConfig, validate
from flows.run import adopt_config

AMX = "flags\t\t: fpu avx512_bf16 amx_tile amx_bf16\nbugs\t\t:\n"
AVX512 = "flags\t\t: fpu avx512f avx512_bf16\n"
PLAIN = "flags\t\t: fpu avx2 avx512f\n"

PRETRAINED = {"model": "somebody/a-model"}
BUILT = {"build": "examples.reviews.model:build"}


def _config(policy: dict[str, Any], **sections: Any) -> CampaignConfig:
    judge = {"kind": "rule", "function": "examples.reviews.judge:score"}
    prompts = {"function": "examples.reviews.grammar:prompts"}
    raw = {"name": "of-a-precision", "policy": policy, "prompts": prompts, "judge": judge}
    return validate({**raw, **sections}, "test")


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """on(facts): be on a machine without a GPU whose /proc/cpuinfo says so."""

    def be(facts: str | None) -> None:
        path = tmp_path / "cpuinfo"
        path.unlink(missing_ok=True)
        if facts is not None:
            path.write_text(facts, encoding="utf-8")
        monkeypatch.setattr(processor, "_FACTS", path)
        monkeypatch.setenv("PATH", str(tmp_path))

    return be


def _adopted(layout: Layout, config: CampaignConfig) -> tuple[str, str]:
    adopted, _ = adopt_config(layout, config)
    written = yaml.safe_load(layout.config.read_text(encoding="utf-8"))
    found = adopted.sampling.dtype, adopted.training.compute_dtype
    assert found == (written["sampling"]["dtype"], written["training"]["compute_dtype"])
    return found


def _folder(tmp_path: Path) -> Layout:
    (tmp_path / "campaign").mkdir()
    return Layout(tmp_path / "campaign")


@pytest.mark.parametrize(
    "facts, policy, expected",
    [
        (AMX, PRETRAINED, "bfloat16"),
        (AVX512, PRETRAINED, "bfloat16"),
        (PLAIN, PRETRAINED, "float32"),
        (None, PRETRAINED, "float32"),  # no Linux
        (AMX, BUILT, "auto"),
    ],
)
def test_chosen_for_the_cpu(
    on: Any, tmp_path: Path, facts: str, policy: dict[str, Any], expected: str
) -> None:
    on(facts)
    assert _adopted(_folder(tmp_path), _config(policy)) == (expected, expected)


def test_left_open_with_a_gpu(on: Any, tmp_path: Path) -> None:
    on(AMX)
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    assert _adopted(_folder(tmp_path), _config(PRETRAINED)) == ("auto", "auto")


def test_what_is_given_stands(on: Any, tmp_path: Path) -> None:
    on(AMX)
    config = _config(PRETRAINED, sampling={"dtype": "float32"})
    assert _adopted(_folder(tmp_path), config) == ("float32", "bfloat16")


def test_kept_on_another_machine(on: Any, tmp_path: Path) -> None:
    layout = _folder(tmp_path)
    on(PLAIN)
    _adopted(layout, _config(PRETRAINED))
    on(AMX)
    assert _adopted(layout, _config(PRETRAINED)) == ("float32", "float32")


def test_a_campaign_from_before_stays_as_it_is(on: Any, tmp_path: Path) -> None:
    on(AMX)
    layout = _folder(tmp_path)
    _adopted(layout, _config(PRETRAINED))
    written = layout.config.read_text(encoding="utf-8")
    layout.config.write_text(written.replace("dtype: bfloat16", "dtype: auto"), encoding="utf-8")
    assert _adopted(layout, _config(PRETRAINED)) == ("auto", "auto")


def test_refused_where_it_cannot_be_multiplied(on: Any, tmp_path: Path) -> None:
    layout = _folder(tmp_path)
    on(AVX512)
    _adopted(layout, _config(PRETRAINED))
    before = layout.config.read_bytes()
    on(PLAIN)
    with pytest.raises(
        BadInput, match=r"bfloat16 .*sampling\.dtype, training\.compute_dtype"
    ) as refused:
        adopt_config(layout, _config(PRETRAINED))
    assert refused.value.remedy.endswith(
        "--set sampling.dtype=float32 --set training.compute_dtype=float32"
    )
    assert layout.config.read_bytes() == before
    chosen = _config(
        PRETRAINED, sampling={"dtype": "float32"}, training={"compute_dtype": "float32"}
    )
    assert _adopted(layout, chosen) == ("float32", "float32")
