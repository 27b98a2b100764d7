"""A GGUF file becomes the model that it describes, in float32, and nothing beside it has a say."""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_core.errors import BadInput
from dpo_core.gguf.load import load_config, load_model, load_tokenizer
from dpo_core.special_tokens import read_special_tokens
from tests.tiny_gguf import BEGIN, END, NEWLINES, TURN, write_tiny_gguf

CHAT = [{"role": "user", "content": "Hi"}]
SAID = (
    "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_1"])
def test_weights_are_the_blocks_as_the_format_means_them(tmp_path: Path, kind: str) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", kind=gguf.GGMLQuantizationType[kind])
    weights = load_model(path).state_dict()
    assert {w.dtype for w in weights.values()} == {torch.float32}
    tensors = {each.name: each for each in gguf.GGUFReader(path).tensors}
    names = {"mlp.down_proj": "ffn_down", "mlp.gate_proj": "ffn_gate", "self_attn.v_proj": "attn_v"}
    for ours, theirs in names.items():
        tensor = tensors[f"blk.1.{theirs}.weight"]
        meant = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(weights[f"model.layers.1.{ours}.weight"].numpy(), meant)


def test_the_saved_folder_says_what_the_file_says(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    model, tokenizer = load_model(path), load_tokenizer(path)
    model.save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    assert "quantization_config" not in json.loads((tmp_path / "policy/config.json").read_text())
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "policy").eval()
    read = AutoTokenizer.from_pretrained(tmp_path / "policy")
    ids = read.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"]
    assert ids == tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"]
    assert read.decode(ids) == SAID and ids[0] == BEGIN
    with torch.no_grad():
        ours, theirs = (each.eval()(torch.tensor([ids])).logits for each in (model, saved))
    assert torch.equal(ours, theirs)
    special = read_special_tokens(tmp_path / "policy")
    assert (special.eos, special.bos, special.plain_bos) == ({END}, BEGIN, False)
    assert special.chat_bos(CHAT) == 3  # each turn begins with it


def test_every_token_that_ends_a_turn_ends_an_answer(tmp_path: Path) -> None:
    model = load_model(write_tiny_gguf(tmp_path / "tiny.gguf", tokenizer__ggml__eot_token_id=TURN))
    assert model.generation_config.eos_token_id == [END, TURN]


@pytest.mark.parametrize("adds", [True, False])
def test_plain_texts_begin_as_the_file_says(tmp_path: Path, adds: bool) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", tokenizer__ggml__add_bos_token=adds)
    tokenizer = load_tokenizer(path)
    tokenizer.save_pretrained(tmp_path / "policy")
    saved = AutoTokenizer.from_pretrained(tmp_path / "policy")
    for each in (tokenizer, saved):
        assert (each("a").input_ids[0] == BEGIN) is adds
    assert read_special_tokens(tmp_path / "policy").plain_bos is adds


def test_digits_stand_alone_in_smollms_texts(tmp_path: Path) -> None:
    """GPT-2's rule, which transformers takes, splits the empty line before a digit in two."""
    smollm = load_tokenizer(write_tiny_gguf(tmp_path / "smollm.gguf"))
    assert NEWLINES in smollm("a\n\n1").input_ids
    other = load_tokenizer(write_tiny_gguf(tmp_path / "o.gguf", tokenizer__ggml__pre="gpt-2"))
    assert NEWLINES not in other("a\n\n1").input_ids


def test_what_lies_beside_the_file_has_no_say(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 77}')
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "x", "chat_template": "y"}')
    (tmp_path / "chat_template.jinja").write_text("y")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert load_model(path).generation_config.eos_token_id == END
    tokenizer = load_tokenizer(path)
    assert tokenizer.eos_token_id == END
    assert tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True) == SAID
    assert load_config(path).model_type == "llama"


def test_an_architecture_that_transformers_cannot_read(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", architecture="quagga")
    for load in (load_model, load_tokenizer, load_config):
        with pytest.raises(BadInput, match=r"cannot read .*tiny\.gguf: .*architecture quagga") as e:
            load(path)
        assert len(e.value.message.splitlines()) == 1


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", without=["blk.1.ffn_up.weight"])
    with pytest.raises(BadInput, match=r"lacks 1 weights .*, such as model\.layers\.1\.mlp\.up"):
        load_model(path)


def test_a_rotary_embedding_that_would_be_left_out(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", llama__rope__scaling__type="yarn")
    with pytest.raises(BadInput, match=r"scales its rotary embedding \(yarn\)"):
        load_model(path)
    plain = write_tiny_gguf(tmp_path / "plain.gguf", llama__rope__scaling__type="none")
    load_config(plain)


def test_a_tokenizer_that_is_missing(tmp_path: Path) -> None:
    lacking = ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"]
    with pytest.raises(BadInput, match="transformers cannot read"):
        load_tokenizer(write_tiny_gguf(tmp_path / "tiny.gguf", without=lacking))


def test_without_its_package_one_sentence_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(BadInput, match="needs the package gguf, which is not installed") as error:
        load_model(path)
    assert error.value.remedy == "Run pip install -e '.[gguf]'."
