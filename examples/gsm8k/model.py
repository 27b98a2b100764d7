"""The base policy of the GSM8K task before its warm start: a small Llama that reads digits."""

import json
from pathlib import Path
from typing import Any

VOCABULARY = 2048
SPECIAL = PAD, EOS, USER, BOT = "<pad>", "<eos>", "<user>", "<bot>"


def build(out_dir: Path, seed: int, corpus: str) -> None:
    """Write a random model of 2.2 M parameters, and a tokenizer trained on `corpus`, to `out_dir`.

    corpus: JSONL of {question, answer}. Raises FileNotFoundError with its path if it is missing.
    """
    texts = _texts(Path(corpus))

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(texts)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,  # and not fewer where a small corpus yields fewer tokens
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=256,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            tie_word_embeddings=True,
        )
    )
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)


def _texts(corpus: Path) -> list[str]:
    if not corpus.is_file():
        raise FileNotFoundError(f"there is no corpus {corpus} to train the tokenizer on")
    with corpus.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [row[field] for row in rows for field in ("question", "answer")]


def _tokenizer(texts: list[str]) -> Any:
    """Byte-level BPE in which every digit is a token: 48/2 is calculated digit by digit.

    A prompt becomes `<user> question <bot>`, so what follows is the answer; decoding gives back
    every text, byte by byte.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{USER} $A {BOT}",
        special_tokens=[(token, bpe.token_to_id(token)) for token in (USER, BOT)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=[USER, BOT],
        clean_up_tokenization_spaces=False,
    )
