"""EOS and BOS by token ids, with tokenizers as they are saved beside a policy."""

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_core.records import Prompt
from dpo_core.special_tokens import SpecialTokens, read_special_tokens
from generation.sampling import encode_prompt, load_tokenizer
from labeling.audit.token_faults import token_faults

CHAT = Prompt("c", messages=({"role": "user", "content": "hello there"},))
PLAIN = Prompt("p", text="hello there")
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"


def save(folder: Path, *, adds_bos: bool, template: str | None = None) -> None:
    """A tokenizer with BOS 0 and EOS 1, and the configs of a policy that also ends with 2."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "</s>", "<end>", "<unk>", "hello", "there"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    if adds_bos:
        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 5}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))


@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("template", [TEMPLATE, "{{ messages[0].content }}"])
def test_a_policys_own_prompts_have_no_fault(tmp_path: Path, adds_bos: bool, template: str) -> None:
    save(tmp_path, adds_bos=adds_bos, template=template)
    special = read_special_tokens(tmp_path)
    begins = template == TEMPLATE
    assert (special.eos, special.bos, special.plain_bos) == (frozenset({1, 2}), 0, adds_bos)
    assert special.chat_bos(CHAT.messages or ()) == begins
    tokenizer = load_tokenizer(tmp_path)
    for prompt, expected in ((PLAIN, adds_bos), (CHAT, begins)):
        ids = encode_prompt(tokenizer, prompt)
        assert ids.count(0) == expected
        assert token_faults(prompt, ids, [4, 1], True, special) == frozenset()
        # The classic: the template writes BOS and the tokenizer adds another one.
        assert token_faults(prompt, [0, 0, 4], [4, 1], True, special) == {"bos_doubled"}
        missing = token_faults(prompt, [4, 5], [4, 1], True, special)
        assert missing == ({"bos_missing"} if expected else set())


def test_files_of_older_models(tmp_path: Path) -> None:
    def written(**settings: Any) -> SpecialTokens:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        return read_special_tokens(tmp_path)

    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 7, "bos_token_id": 1}))
    assert read_special_tokens(tmp_path) == SpecialTokens(frozenset({7}), 1)
    decoder = {"1": {"content": "<s>"}, "2": {"content": "</s>"}}
    known: dict[str, Any] = {"added_tokens_decoder": decoder, "eos_token": {"content": "</s>"}}
    assert written(**known) == SpecialTokens(frozenset({2, 7}))  # this tokenizer has no BOS
    known["bos_token"] = {"content": "<s>"}
    adds = written(**known, add_bos_token=True)
    assert adds == SpecialTokens(frozenset({2, 7}), 1, True, "<s>")
    named = [{"name": "tools", "template": ""}, {"name": "default", "template": "<s>a<s>"}]
    chat = written(**known, add_bos_token=False, chat_template=named)
    assert not chat.plain_bos and chat.chat_bos(()) == 2


EOS = SpecialTokens(frozenset({1, 2}))


@pytest.mark.parametrize(
    ("tokens", "finished", "faults"),
    [
        ([4, 1], True, set()),
        ([4, 2], True, set()),
        ([4, 5], True, {"eos_missing"}),
        ([], True, {"eos_missing"}),
        ([4, 1, 1], True, {"eos_doubled"}),
        ([4, 1, 5, 2], True, {"eos_doubled"}),
        ([1, 4], True, {"eos_missing", "eos_doubled"}),
        ([4, 5], False, set()),
        ([4, 5, 1], False, {"eos_doubled"}),  # cut, and yet it would be taught as finished
    ],
)
def test_eos(tokens: list[int], finished: bool, faults: set[str]) -> None:
    assert token_faults(PLAIN, [4], tokens, finished, EOS) == faults


def test_an_answer_that_begins_with_bos_and_one_token_for_both() -> None:
    """How many BOS a prompt may have is tested in tests/dpo_core/test_bos.py."""
    special = SpecialTokens(frozenset({1}), 0, plain_bos=True)
    assert token_faults(PLAIN, [0, 4], [0, 4, 1], True, special) == {"bos_doubled"}
    assert token_faults(PLAIN, [0, 4, 0, 4], [4, 1], True, special) == {"bos_doubled"}
    both = SpecialTokens(frozenset({1}), 1)  # GPT-2: between turns it may stand anywhere
    assert token_faults(PLAIN, [4, 1, 4, 1, 4, 1], [4, 1], True, both) == set()
    assert token_faults(PLAIN, [4, 1, 1, 4], [4, 1], True, both) == set()
    assert token_faults(PLAIN, [1, 1, 4], [4, 1], True, both) == {"bos_doubled"}
