"""The policy and the prompts of both sides, and the size of their round."""

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.dpo_round.workload import Model, build
from dpo_core.records import prompt_id
from generation.config import PromptsConfig
from generation.prompts import assign_split

BETA = 0.1
LEARNING_RATE = 1e-7
"""Small, for equal work: TRL's policy learns while it samples, and with 5e-5 its answers grew a
fifth longer than those of a round that is sampled before it is trained."""
SAMPLES_PER_PROMPT = 2  # TRL compares exactly two
SEED = 1
THREADS = 1
HELD_OUT = 4
"""Prompts of each held-out split, which a campaign wants; their answers warm its sampler."""
POOL = PromptsConfig()
_PAD, _BOS, _EOS, _UNKNOWN, _FIRST_WORD = range(5)


@dataclass(frozen=True)
class Size:
    """One round: tokens of prompts between two bounds, of an answer on average and at most."""

    prompts: int
    prompt_tokens: tuple[int, int] = (128, 256)
    mean_answer: int = 64
    max_tokens: int = 256
    pairs_per_step: int = 32

    @property
    def longest(self) -> int:
        """Most tokens of a prompt and its answer."""
        return self.prompt_tokens[1] + self.max_tokens


def prepare(folder: Path, model: Model, size: Size) -> None:
    """model/ and prompts.jsonl, of which both sides start."""
    build(model, folder / "model")
    _end_answers(folder / "model", model.vocabulary, size.mean_answer)
    rows = _prompts(model.vocabulary, size)
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def train_prompts(folder: Path) -> list[str]:
    rows = map(json.loads, (folder / "prompts.jsonl").read_text().splitlines())
    return [row["prompt"] for row in rows if row["split"] == "train"]


def _end_answers(folder: Path, vocabulary: int, mean: int) -> None:
    """Have the random policy end its answer after every token with a probability of 1 / mean.

    Its answers then differ in length as those of a trained policy do. The first channel becomes the
    same for every token, no layer writes to it, and the end of an answer is read from it alone.
    """
    import torch
    from transformers import AutoModelForCausalLM

    policy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    head_VD = policy.lm_head.weight
    torch.manual_seed(0)
    with torch.no_grad():
        policy.model.embed_tokens.weight[:, 0] = 1.0
        for layer in policy.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        head_VD[:, 0] = 0.0
        head_VD[:_FIRST_WORD] = 0.0
        head_VD[_EOS, 0] = 1.0
        logits_TV = policy(torch.randint(_FIRST_WORD, vocabulary, (1, 256))).logits[0]
        channel = logits_TV[:, _EOS].mean()
        words = logits_TV[:, _FIRST_WORD:].logsumexp(-1).mean()
        head_VD[_EOS, 0] = (words - math.log(mean - 1)) / channel
        head_VD[[_PAD, _BOS, _UNKNOWN], 0] = -100.0 / channel  # never sampled
    policy.save_pretrained(folder)


def _prompts(vocabulary: int, size: Size) -> list[dict[str, str]]:
    """Prompts of random words: as many of the train split as the round takes, and held-out ones."""
    chosen = random.Random(0)
    wanted = {"train": size.prompts, "gate": HELD_OUT, "test": HELD_OUT}
    rows = []
    while any(wanted.values()):
        length = chosen.randint(*size.prompt_tokens)
        text = " ".join(f"w{chosen.randrange(_FIRST_WORD, vocabulary)}" for _ in range(length))
        split = assign_split(prompt_id(text, None), POOL)
        if wanted[split]:
            wanted[split] -= 1
            rows.append({"prompt": text, "split": split})
    return rows
