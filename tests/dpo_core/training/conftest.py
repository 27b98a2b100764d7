"""A tiny real language model, and rounds of preferences to train it on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from dpo_core.children import Child
from dpo_core.records import pair_id
from dpo_core.schemas import COMPLETIONS, PREFERENCES
from dpo_core.tables import write_rows
from dpo_core.training.jobs import DpoJob
from dpo_core.training.results import DpoResult

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
PAD, BOS, EOS, UNK = range(4)
GOOD = ["fine", "good", "great", "lovely"]
BAD = ["awful", "bad", "dull", "poor"]
WORDS = ["the", "film", "book", "play", "was", "is", "and", "very", "quite", "story", "plot", "end"]
VOCABULARY = [*SPECIAL, *GOOD, *BAD, *WORDS]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Words to ids; a text gets BOS in front, and no EOS."""
    ids = {word: number for number, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",  # as often: padding is EOS, so a mask from ids would be wrong
        unk_token="<unk>",
    )


def build_tiny(out_dir: Path, seed: int, hidden: int = 32) -> None:
    """A random Llama of two layers with attention dropout, which training must switch off."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        attention_dropout=0.5,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=EOS,
    )
    LlamaForCausalLM(config).save_pretrained(out_dir)
    make_tokenizer().save_pretrained(out_dir)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny(folder, seed=0)
    return folder


def ids(text: str) -> list[int]:
    return [VOCABULARY.index(word) for word in text.split()]


def completion(name: str, prompt: str, answer: str, finish_reason: str) -> dict[str, Any]:
    """A row of completions.parquet; like a sampler's, its ids end with EOS when it stopped."""
    return {
        "completion_id": name,
        "prompt_id": prompt,
        "sample_index": 0,
        "text": answer,
        "prompt_token_ids": [BOS, *ids(prompt)],
        "token_ids": ids(answer) + ([EOS] if finish_reason == "stop" else []),
        "token_logps": None,
        "finish_reason": finish_reason,
        "seed": 0,
        "policy": "",
    }


def preference(chosen: str, rejected: str, p_chosen: float = 1.0) -> dict[str, Any]:
    return {
        "pair_id": pair_id(chosen, rejected),
        "prompt_id": "",
        "chosen": chosen,
        "rejected": rejected,
        "p_chosen": p_chosen,
        "sources": ["test"],
        "agreement": 1.0,
    }


def write_round(
    folder: Path, completions: list[dict[str, Any]], preferences: list[dict[str, Any]]
) -> dict[str, Path]:
    write_rows(folder / "completions.parquet", completions, COMPLETIONS)
    write_rows(folder / "preferences.parquet", preferences, PREFERENCES)
    return {
        "completions": folder / "completions.parquet",
        "preferences": folder / "preferences.parquet",
    }


def with_logps_of(policy: Path, completions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The completions with the log-probs that a sampler with these weights would return."""
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).eval()

    def logps(row: dict[str, Any]) -> list[float]:
        ids, start = row["prompt_token_ids"] + row["token_ids"], len(row["prompt_token_ids"])
        with torch.no_grad():
            logps_TV = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        return [float(logps_TV[at - 1, ids[at]]) for at in range(start, len(ids))]

    return [{**row, "token_logps": logps(row)} for row in completions]


def sentiment(pairs: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(completions, preferences): good words are chosen, bad words rejected, lengths differ."""
    completions, preferences = [], []
    for number in range(pairs):
        noun, verb = WORDS[1 + number % 3], WORDS[4 + number % 2]
        prompt = f"the {noun} {verb}" if number % 2 else f"the {noun} and the story {verb}"
        # Words and lengths cycle on their own, so no length or position gives the choice away.
        extra = ["", "very ", "quite very "][number // 4 % 3]
        other = ["quite very ", "", "very "][number // 4 % 3]
        chosen, rejected = f"good-{number}", f"bad-{number}"
        ends = ("stop", "length") if number % 5 == 0 else ("stop", "stop")
        completions += [
            completion(chosen, prompt, extra + GOOD[number % 4], ends[0]),
            completion(rejected, prompt, other + BAD[number // 2 % 4], ends[1]),
        ]
        preferences.append(preference(chosen, rejected))
    return completions, preferences


def trained_elsewhere(job: DpoJob) -> DpoResult:
    """What `train_round` says of the job in a process of its own."""
    log = job.curve_path.parent / "train.log"
    with Child.start("dpo_core.training.train_worker", log) as child:
        return child.carry_out(job)


@pytest.fixture
def make_job(tiny: Path, tmp_path: Path) -> Callable[..., DpoJob]:
    """make_job(name, completions, preferences, seed=, **config) -> DpoJob on files of its own."""

    def make(
        name: str,
        completions: list[dict[str, Any]],
        preferences: list[dict[str, Any]],
        seed: int = 1,
        policy_dir: Path = tiny,
        **config: Any,
    ) -> DpoJob:
        folder = tmp_path / name
        folder.mkdir()
        defaults = {"learning_rate": 1e-3, "pairs_per_step": 8, "micro_batch_tokens": 64}
        return DpoJob.model_validate(
            {
                **write_round(folder, completions, preferences),
                "policy_dir": policy_dir,
                "out_dir": folder / "policy",
                "curve_path": folder / "training.parquet",
                "reference_logps_path": folder / "reference_logps.parquet",
                "config": {**defaults, **config},
                "seed": seed,
            }
        )

    return make
