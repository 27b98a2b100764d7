"""Imported texts become what the policy would have sampled: token ids, closed as it closes."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

from dpo_core.errors import BadInput, PromptError
from dpo_core.records import Prompt, pair_id, prompt_id, prompt_row
from dpo_core.schemas import IMPORTED, PROMPTS
from dpo_core.tables import read_rows, write_rows
from generation.jobs import TokeniseJob, TokeniseResult
from generation.tokenise import context_length, tokenise_pairs

EOS, UNKNOWN, TURN, USER, ASSISTANT = range(5)
WORDS = ["<eos>", "<unk>", "<turn>", "<user>", "<assistant>", "why", "yes", "no", "sky"]
WHY, YES, NO, SKY = range(5, 9)
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    "<{{ m.role }}> {{ m.content }} <turn> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tokenizer(**options: Any) -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    names = {"eos_token": "<eos>", "unk_token": "<unk>", "extra_special_tokens": ["<turn>"]}
    made = PreTrainedTokenizerFast(tokenizer_object=words, **{**names, **options})
    made.chat_template = TEMPLATE
    return made


def imported(
    prompt: str | tuple[dict[str, str], ...], chosen: str, rejected: str
) -> dict[str, Any]:
    text, messages = (prompt, None) if isinstance(prompt, str) else (None, prompt)
    return {
        "pair_id": pair_id(chosen, rejected),
        "prompt_id": prompt_id(text, messages),
        "prompt": text,
        "messages": list(messages) if messages is not None else None,
        "chosen": chosen,
        "rejected": rejected,
        "p_chosen": 0.75,
        "sources": ["somebody"],
        "agreement": None,
    }


def user(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)


class Tokenised:
    def __init__(self, tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> None:
        held = options.pop("held_out", [])
        write_rows(tmp_path / "pairs.parquet", rows, IMPORTED)
        write_rows(tmp_path / "held.parquet", map(prompt_row, held), PROMPTS)
        out = tmp_path / "out"
        out.mkdir()
        longest = options.pop("longest", 16)
        hard = options.pop("hard", False)
        job = TokeniseJob(
            policy=tmp_path,
            pairs=tmp_path / "pairs.parquet",
            held_out=tmp_path / "held.parquet",
            out_dir=out,
            longest=longest,
            hard=hard,
        )
        made = options.pop("tokenizer", None) or tokenizer()
        self.result = tokenise_pairs(made, job, lambda *_: None)
        self.completions = {
            row["completion_id"]: row for row in read_rows(out / "completions.parquet")
        }
        self.preferences = read_rows(out / "preferences.parquet")
        self.prompts = read_rows(out / "prompts.parquet")

    def ids(self, side: str, number: int = 0) -> list[int]:
        ids: list[int] = self.completions[self.preferences[number][side]]["token_ids"]
        return ids

    def prompt_ids(self, number: int = 0) -> list[int]:
        row = self.completions[self.preferences[number]["chosen"]]
        ids: list[int] = row["prompt_token_ids"]
        return ids


def test_plain_text_is_closed_with_eos(tmp_path: Path) -> None:
    found = Tokenised(tmp_path, [imported("why sky", "yes", "no no")])
    assert found.prompt_ids() == [WHY, SKY]
    assert (found.ids("chosen"), found.ids("rejected")) == ([YES, EOS], [NO, NO, EOS])
    [preference] = found.preferences
    assert (preference["p_chosen"], preference["sources"]) == (0.75, ["somebody"])
    for row in found.completions.values():
        assert (row["finish_reason"], row["token_logps"]) == ("stop", None)
    counts = {"prompts": 1, "completions": 2, "preferences": 1, "tokens": 5}
    assert found.result == TokeniseResult(rows=1, dropped={}, **counts)


def test_a_chat_is_closed_as_its_template_and_the_policy_close_it(tmp_path: Path) -> None:
    """The template ends a turn with <turn>; that counts if the policy stops there."""
    row = imported(user("why"), "yes", "no")
    without = tmp_path / "a"
    without.mkdir()
    assert Tokenised(without, [row]).ids("chosen") == [YES, EOS]
    GenerationConfig(eos_token_id=[EOS, TURN]).save_pretrained(tmp_path)
    found = Tokenised(tmp_path, [row, imported("sky", "yes", "no")])
    assert found.prompt_ids() == [USER, WHY, TURN, ASSISTANT]
    assert (found.ids("chosen"), found.ids("rejected")) == ([YES, TURN], [NO, TURN])
    assert found.ids("chosen", 1) == [YES, EOS], "no template, no turn"


def test_what_is_dropped_is_counted(tmp_path: Path) -> None:
    held = [
        Prompt(prompt_id("Why", None), text="Why", split="gate"),
        Prompt(prompt_id(None, user("sky")), messages=user("sky"), split="test"),
    ]
    system = ({"role": "system", "content": "no"}, *user("yes"))
    rows = [
        imported("  WHY ", "yes", "no"),  # the same prompt, spelled otherwise
        imported(user("why"), "yes", "no"),  # and as a user message
        imported(({"role": "system", "content": "no"}, *user("why")), "yes", "no"),
        imported("sky", "yes", "no"),
        imported("yes", "yes " * 6, "no"),  # 1 + 6 + 1 tokens
        imported("yes", "yes " * 5, "no"),  # 7, the longest that fits
        imported("yes", "no <turn> <user> yes", "no"),
        imported("yes", "no", "a word"),
        imported(system, "yes", "no"),
    ]
    found = Tokenised(tmp_path, rows, held_out=held, longest=7)
    expected = {"held_out": 4, "special_tokens": 1, "template": 1, "too_long": 1}
    assert found.result.dropped == expected
    assert [len(found.ids("chosen", n)) for n in (0, 1)] == [6, 2]
    assert found.ids("rejected", 1) == [UNKNOWN, UNKNOWN, EOS], (
        "an unknown word is no special token"
    )


def test_an_answer_of_several_pairs_is_written_once(tmp_path: Path) -> None:
    rows = [
        imported("why", "yes", "no"),
        imported("sky", "yes", "no"),
        imported("why", "no", "sky"),
    ]
    found = Tokenised(tmp_path, rows)
    assert len(found.prompts) == 2
    why = [row for row in found.completions.values() if row["prompt_token_ids"] == [WHY]]
    assert [(row["text"], row["sample_index"]) for row in why] == [
        ("yes", 0),
        ("no", 1),
        ("sky", 2),
    ]
    assert found.preferences[0]["rejected"] == found.preferences[2]["chosen"]


def test_a_loss_without_soft_labels_gets_hard_ones(tmp_path: Path) -> None:
    found = Tokenised(tmp_path, [imported("why", "yes", "no")], hard=True)
    assert [row["p_chosen"] for row in found.preferences] == [1.0]


def test_what_the_policy_cannot_do_at_all_is_said(tmp_path: Path) -> None:
    endless = tokenizer()
    endless.eos_token = None
    (tmp_path / "a").mkdir()
    with pytest.raises(BadInput, match="no EOS"):
        Tokenised(tmp_path / "a", [imported("why", "yes", "no")], tokenizer=endless)
    plain = tokenizer()
    plain.chat_template = None
    with pytest.raises(PromptError, match="no chat template"):
        Tokenised(tmp_path, [imported(user("why"), "yes", "no")], tokenizer=plain)


def test_the_longest_text_of_a_model(tmp_path: Path) -> None:
    LlamaConfig(max_position_embeddings=123).save_pretrained(tmp_path)
    assert context_length(tmp_path) == 123
