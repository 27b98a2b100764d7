"""One rule for BOS, right for the shape of each family's chat template: audit and doctor."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dpo_core.bos import find_bos_faults
from dpo_core.records import Prompt
from dpo_core.special_tokens import SpecialTokens, read_special_tokens
from generation.config import PromptsConfig
from generation.probe import probe_tokens
from generation.probe_jobs import ProbeTokens
from generation.sampling import encode_prompt, load_tokenizer
from labeling.audit.token_faults import token_faults

# Every conversation that a prompt may be, by the roles of its messages.
CONVERSATIONS = (
    ("user",),
    ("system", "user"),
    ("user", "assistant", "user"),
    ("system", "user", "assistant", "user"),
)

TURNS = "{%% for m in messages %%}%s{%% endfor %%}{%% if add_generation_prompt %%}%s{%% endif %%}"
CHATML = TURNS % (
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}",
    "{{ '<|im_start|>assistant\n' }}",
)
SYSTEM_FIRST = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}"
)
# The system message goes into the first turn of the user.
INTO_THE_FIRST_TURN = (
    "{% if messages[0]['role'] == 'system' %}{% set said = messages[0]['content'] + '\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set said = '' %}{% endif %}"
)
LLAMA_2 = INTO_THE_FIRST_TURN + (
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (said if loop.first else '') + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}"
    + INTO_THE_FIRST_TURN
    + (
        "{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ '[INST] ' + (said if loop.first else '') + m['content'] + '[/INST]' }}"
        "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    )
)
LLAMA_3 = (
    "{{- bos_token }}{%- if strftime_now is defined %}{%- set today = strftime_now('%d %b') %}"
    "{%- endif %}"
    + (TURNS % ("{{ '<|header|>' + m['role'] + '\n\n' + m['content'] + '<|eot|>' }}", "<|header|>"))
)
LLAMA_4 = "{{- bos_token }}" + TURNS % (
    "{{ '<|header_start|>' + m['role'] + '<|header_end|>\n' + m['content'] + '<|eot|>' }}",
    "<|header_start|>assistant",
)
GEMMA = TURNS % (
    "{{ '<start_of_turn>' + m['role'] + '\n' + m['content'] | trim + '<end_of_turn>\n' }}",
    "<start_of_turn>model\n",
)
REFUSES_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
)
PHI = TURNS % ("{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}", "<|assistant|>")
PHI_4 = TURNS % (
    "{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}",
    "<|im_start|>assistant<|im_sep|>",
)
DEEPSEEK = (
    "{% set ns = namespace(system='') %}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{% set ns.system = ns.system + m['content'] %}{% endif %}{% endfor %}"
    "{{ bos_token }}{{ ns.system }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '<|User|>' + m['content'] }}{% elif m['role'] == 'assistant' %}"
    "{{ '<|Assistant|>' + m['content'] + eos_token }}{% endif %}{% endfor %}<|Assistant|>"
)
OLMO_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ '<|assistant|>\n' + m['content'] + (eos_token if not loop.last else '') }}"
    "{% endgeneration %}{% continue %}{% endif %}{{ '<|' + m['role'] + '|>\n' + m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
ONE = (1, 1, 1, 1)
NONE = (0, 0, 0, 0)


@dataclass(frozen=True)
class Family:
    """`written`: how many BOS the template writes for each conversation, None where it refuses."""

    bos: str | None
    eos: str
    template: str
    written: tuple[int | None, ...]
    plain_bos: bool = False


FAMILIES = {
    # Each turn and the assistant's that is opened; a system turn is added where none is given.
    "SmolLM2": Family("<|im_start|>", "<|im_end|>", SYSTEM_FIRST + CHATML, (3, 3, 5, 5)),
    "ChatML, BOS opens turns": Family("<|im_start|>", "<|im_end|>", CHATML, (2, 3, 4, 5)),
    "ChatML, BOS apart": Family("<s>", "<|im_end|>", "{{ bos_token }}" + CHATML, ONE, True),
    "Qwen 2.5": Family(None, "<|im_end|>", SYSTEM_FIRST + CHATML, NONE),
    "Qwen 3": Family(None, "<|im_end|>", CHATML, NONE),
    "SmolLM3": Family("<|begin_of_text|>", "<|im_end|>", SYSTEM_FIRST + CHATML, NONE, True),
    "Llama 2": Family("<s>", "</s>", LLAMA_2, (1, 1, 2, 2), True),
    "Llama 3": Family("<|begin_of_text|>", "<|eot|>", LLAMA_3, ONE, True),
    "Llama 4": Family("<|begin_of_text|>", "<|eot|>", LLAMA_4, ONE, True),
    "Mistral": Family("<s>", "</s>", MISTRAL, ONE, True),
    "Gemma 2": Family("<bos>", "<end_of_turn>", REFUSES_SYSTEM + GEMMA, (1, None, 1, None), True),
    "Gemma 3": Family("<bos>", "<end_of_turn>", "{{ bos_token }}" + GEMMA, ONE, True),
    "Phi 3": Family("<s>", "<|end|>", PHI, NONE),
    "Phi 3, first files": Family("<s>", "<|end|>", "{{ bos_token }}" + PHI, ONE, True),
    "Phi 4": Family("<|endoftext|>", "<|endoftext|>", PHI_4, NONE),
    "DeepSeek": Family("<|begin|>", "<|end|>", DEEPSEEK, ONE, True),
    # One token for both: it also ends the assistant's turns.
    "OLMo 2": Family("<|endoftext|>", "<|endoftext|>", OLMO_2, (1, 1, 2, 2)),
    "no template": Family("<s>", "</s>", "", (None,) * 4, True),
}


def saved(family: Family, folder: Path) -> PreTrainedTokenizerBase:
    """A tokenizer of words with the family's special tokens and template, as it is saved."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    names = list(dict.fromkeys(n for n in ("<unk>", family.bos, family.eos) if n))
    words = Tokenizer(WordLevel({n: i for i, n in enumerate((*names, "hello"))}, "<unk>"))
    words.pre_tokenizer = Whitespace()
    words.add_special_tokens(names)
    if family.plain_bos and family.bos:
        special = [(family.bos, words.token_to_id(family.bos))]
        words.post_processor = TemplateProcessing(single=f"{family.bos} $A", special_tokens=special)
    tokens = {"unk_token": "<unk>", "eos_token": family.eos}
    tokens |= {"bos_token": family.bos} if family.bos else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **tokens)
    tokenizer.chat_template = family.template or None
    tokenizer.save_pretrained(folder)
    eos = tokenizer.eos_token_id
    (folder / "config.json").write_text(json.dumps({"eos_token_id": eos, "bos_token_id": 1}))
    return load_tokenizer(folder)


def conversation(roles: tuple[str, ...], content: str = "hello hello") -> Prompt:
    return Prompt("c", messages=tuple({"role": role, "content": content} for role in roles))


def faults(prompt: Prompt, ids: list[int], special: SpecialTokens) -> set[str]:
    """What the audit says of the prompt of a sound answer."""
    return {*token_faults(prompt, ids, [99, min(special.eos)], True, special)}


def told_by_doctor(folder: Path, prompt: Prompt) -> set[str]:
    row = {"messages": prompt.messages} if prompt.messages else {"prompt": prompt.text}
    (folder / "prompts.jsonl").write_text(json.dumps(row) + "\n")
    asked = PromptsConfig(path=str(folder / "prompts.jsonl"))
    found = probe_tokens(ProbeTokens(folder=folder, revision=None, prompts=asked, room=999))
    return {name for name in ("bos_missing", "bos_doubled") if getattr(found, name)}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_the_template_writes_is_sound_and_one_more_or_less_is_not(
    name: str, tmp_path: Path
) -> None:
    family = FAMILIES[name]
    tokenizer = saved(family, tmp_path)
    special = read_special_tokens(tmp_path)
    bos = special.bos
    for roles, written in zip(CONVERSATIONS, family.written, strict=True):
        prompt = conversation(roles)
        assert prompt.messages is not None
        assert special.chat_bos(prompt.messages) == (None if bos is None else written)
        if written is None:  # it refuses these
            continue
        ids = encode_prompt(tokenizer, prompt)
        assert ids.count(-1 if bos is None else bos) == written
        assert faults(prompt, ids, special) == set() == told_by_doctor(tmp_path, prompt)
        if bos is None:
            continue
        assert faults(prompt, [bos, bos, *ids], special) == {"bos_doubled"}
        spelled = conversation(roles, f"hello {family.bos} hello")
        assert faults(spelled, encode_prompt(tokenizer, spelled), special) == {"bos_doubled"}
        assert told_by_doctor(tmp_path, spelled) == {"bos_doubled"}
        if written:
            less = [*ids[: ids.index(bos)], *ids[ids.index(bos) + 1 :]]
            assert faults(prompt, less, special) == {"bos_missing"}


@pytest.mark.parametrize("name", FAMILIES)
def test_plain_text(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    tokenizer = saved(family, tmp_path)
    special = read_special_tokens(tmp_path)
    assert special.plain_bos == family.plain_bos
    plain = Prompt("p", text="hello hello")
    ids = encode_prompt(tokenizer, plain)
    assert faults(plain, ids, special) == set() == told_by_doctor(tmp_path, plain)
    if special.plain_bos:
        assert faults(plain, ids[1:], special) == {"bos_missing"}
        # The classic: the text begins with the BOS that the tokenizer adds.
        twice = Prompt("p", text=f"{family.bos}hello")
        assert faults(twice, encode_prompt(tokenizer, twice), special) == {"bos_doubled"}
        assert told_by_doctor(tmp_path, twice) == {"bos_doubled"}


def test_a_chat_that_was_written_out_as_plain_text_has_its_turns(tmp_path: Path) -> None:
    tokenizer = saved(FAMILIES["SmolLM2"], tmp_path)
    special = read_special_tokens(tmp_path)
    rendered = tokenizer.apply_chat_template(
        list(conversation(CONVERSATIONS[2]).messages or ()), tokenize=False
    )
    plain = Prompt("p", text=str(rendered))
    assert find_bos_faults(plain, encode_prompt(tokenizer, plain), special) == set()
    assert encode_prompt(tokenizer, plain).count(special.bos or 0) == 4


def test_a_template_that_writes_two_in_a_row_is_found(tmp_path: Path) -> None:
    family = Family("<s>", "</s>", "{{ bos_token }}" + MISTRAL, (2,) * 4)
    tokenizer = saved(family, tmp_path)
    prompt = conversation(("user",))
    ids = encode_prompt(tokenizer, prompt)
    assert find_bos_faults(prompt, ids, read_special_tokens(tmp_path)) == {"bos_doubled"}
