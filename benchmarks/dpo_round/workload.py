"""The models and the pairs that both sides train on."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpo_core.records import pair_id
from dpo_core.schemas import COMPLETIONS, PREFERENCES
from dpo_core.tables import write_rows
from dpo_core.training.pairs.batching import optimiser_steps
from dpo_core.training.pairs.pair_files import load_pairs

BETA = 0.1
LEARNING_RATE = 5e-5
PAIRS_PER_STEP = 8
SEED = 1
_EOS = 2
_FIRST_WORD = 4


@dataclass(frozen=True)
class Model:
    """A randomly initialised model and how many pairs it is measured on.

    alone: pairs of a longer round of ours, or none, for the share of the ceiling. TRL would take
    an hour for it, and the memory that a round touches for the first time weighs on a short one.
    spread: standard deviation of its weights. training: our training options that both sides
    share, of which `compute_dtype` bfloat16 is the dtype of its files as well.
    """

    architecture: str
    layers: int
    key_value_heads: int
    vocabulary: int
    tied: bool
    pairs: int
    hidden: int = 256
    intermediate: int = 1024
    heads: int = 4
    alone: int = 0
    spread: float = 0.04
    training: dict[str, Any] = field(default_factory=dict)

    def forward_flops(self, prompt: int, chosen: int, rejected: int) -> float:
        """Useful floating-point operations of one forward pass over a pair, the prompt once.

        Two per weight and token in the layers, two per weight and completion token in the head,
        and four per pair of tokens that see each other, per layer and channel.
        """
        layer = sum(rows * columns for rows, columns in self._layer())
        body = self.layers * 2 * layer * (prompt + chosen + rejected)
        head = 2 * self.hidden * self.vocabulary * (chosen + rejected)
        return body + head + self._attention_flops(prompt, chosen, rejected)

    def round_flops(self, prompt: int, chosen: int, rejected: int) -> float:
        """Useful operations of a pair's reference pass, forward and backward.

        Backward is worth two forward passes: gradients of hidden states and of weights. Under
        adapters frozen weights have none, and the adapters' own matrices are multiplied three
        times: forward, for the hidden states' gradients and for their own.
        """
        forward = self.forward_flops(prompt, chosen, rejected)
        if "lora" not in self.training:
            return 4 * forward
        rank = self.training["lora"]["rank"]
        adapters = self.layers * sum(rank * (rows + columns) for rows, columns in self._layer())
        attention = self._attention_flops(prompt, chosen, rejected)
        return 3 * forward + attention + 6 * adapters * (prompt + chosen + rejected)

    def _layer(self) -> list[tuple[int, int]]:
        """Shapes of a layer's matrices."""
        key_value = self.key_value_heads * self.hidden // self.heads
        square, narrow = (self.hidden, self.hidden), (self.hidden, key_value)
        return [square] * 2 + [narrow] * 2 + [(self.hidden, self.intermediate)] * 3

    def _attention_flops(self, prompt: int, chosen: int, rejected: int) -> float:
        seen = _triangle(prompt + chosen) + rejected * prompt + _triangle(rejected)
        return self.layers * 4 * self.hidden * seen


MODELS = {
    "A": Model("llama", 6, 4, 8192, tied=False, pairs=48, alone=256),
    "B": Model("qwen2", 4, 2, 65536, tied=True, pairs=16, alone=128),
}


def _triangle(length: int) -> float:
    return length * (length + 1) / 2


def build(model: Model, folder: Path, device: str = "cpu") -> None:
    """Write the model, made on `device`, and a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model.architecture,
        hidden_size=model.hidden,
        intermediate_size=model.intermediate,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.key_value_heads,
        vocab_size=model.vocabulary,
        tie_word_embeddings=model.tied,
        max_position_embeddings=8192,
        initializer_range=model.spread,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=_EOS,
    )
    dtype = getattr(torch, model.training.get("compute_dtype", "float32"))
    with torch.device(device):
        made = AutoModelForCausalLM.from_config(config, dtype=dtype)
    made.save_pretrained(folder)
    del made
    if device == "cuda":
        torch.cuda.empty_cache()  # the sides need the memory
    words = ["<pad>", "<s>", "</s>", "<unk>"]
    words += [f"w{number}" for number in range(_FIRST_WORD, model.vocabulary)]
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)


Lengths = tuple[int, int, int]
"""Tokens of prompt, chosen and rejected completion."""


def usual_lengths(chosen: random.Random) -> Lengths:
    """Prompts of 128 to 256 tokens, completions lognormal between 16 and 256, median 67."""
    return _lengths(chosen, (128, 256), (16, 256), 4.2, 0.7)


def short_lengths(chosen: random.Random) -> Lengths:
    """Prompts of 60 to 100 tokens, completions lognormal between 30 and 112, median 67: everyday
    requests, answered in a paragraph."""
    return _lengths(chosen, (60, 100), (30, 112), 4.2, 0.5)


def long_lengths(chosen: random.Random) -> Lengths:
    """Prompts of 512 to 1,024 tokens, completions lognormal between 32 and 512, median 200: a chat
    with its instructions and a turn or two before, answered in a few paragraphs at most."""
    return _lengths(chosen, (512, 1024), (32, 512), 5.3, 0.6)


def _lengths(
    chosen: random.Random,
    prompt: tuple[int, int],
    completion: tuple[int, int],
    mean_log: float,
    spread_log: float,
) -> Lengths:
    """Prompts uniform, completions lognormal, each within its fewest and most tokens."""

    def tokens() -> int:
        fewest, most = completion
        return min(most, max(fewest, round(chosen.lognormvariate(mean_log, spread_log))))

    return chosen.randint(*prompt), tokens(), tokens()


def pairs(vocabulary: int, lengths: list[Lengths]) -> Iterator[dict[str, Any]]:
    """Random token ids; chosen and rejected completions favour different halves of the words."""
    chosen = random.Random(1)
    middle = (_FIRST_WORD + vocabulary) // 2

    def ids(count: int, first: int, last: int) -> list[int]:
        return [chosen.randrange(first, last) for _ in range(count)]

    for number, (prompt, better, worse) in enumerate(lengths):
        yield {
            "number": number,
            "prompt_ids": ids(prompt, _FIRST_WORD, vocabulary),
            "chosen_ids": [*ids(better - 1, _FIRST_WORD, middle), _EOS],
            "rejected_ids": [*ids(worse - 1, middle, vocabulary), _EOS],
        }


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """The pairs as a round of a campaign leaves them, and as TRL takes them (pairs.json).

    pairs.json has them in the order in which the round goes through them, for TRL to follow.
    """
    completions, preferences = [], []
    for row in rows:
        names = {side: f"{side}-{row['number']:06d}" for side in ("chosen", "rejected")}
        completions += [_completion(name, row, side) for side, name in names.items()]
        preferences.append(_preference(names["chosen"], names["rejected"]))
    write_rows(folder / "completions.parquet", completions, COMPLETIONS)
    write_rows(folder / "preferences.parquet", preferences, PREFERENCES)
    by_id = {p["pair_id"]: row for p, row in zip(preferences, rows, strict=True)}
    loaded = load_pairs(folder / "preferences.parquet", folder / "completions.parquet")
    steps = optimiser_steps(loaded, PAIRS_PER_STEP, SEED, epoch=0)
    ordered = [by_id[pair.pair_id] for step in steps for pair in step]
    (folder / "pairs.json").write_text(json.dumps(ordered))


def _completion(name: str, row: dict[str, Any], side: str) -> dict[str, Any]:
    return {
        "completion_id": name,
        "prompt_id": str(row["number"]),
        "sample_index": 0,
        "text": "",
        "prompt_token_ids": row["prompt_ids"],
        "token_ids": row[f"{side}_ids"],
        "token_logps": None,
        "finish_reason": "stop",
        "seed": 0,
        "policy": "",
    }


def _preference(chosen: str, rejected: str) -> dict[str, Any]:
    return {
        "pair_id": pair_id(chosen, rejected),
        "prompt_id": "",
        "chosen": chosen,
        "rejected": rejected,
        "p_chosen": 1.0,
        "sources": [],
        "agreement": 1.0,
    }
