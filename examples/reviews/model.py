"""The base policy of the reviews task before its warm start: a word tokenizer and a tiny Llama."""

from pathlib import Path

from examples.reviews.grammar import WORDS

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"


def build(out_dir: Path, seed: int, hidden_size: int = 128, layers: int = 4) -> None:
    """Write a randomly initialised model and its tokenizer to `out_dir`."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.trainers import WordLevelTrainer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(WordLevel(unk_token=UNKNOWN))
    words.pre_tokenizer = WhitespaceSplit()
    trainer = WordLevelTrainer(special_tokens=[PAD, EOS, UNKNOWN], show_progress=False)
    words.train_from_iterator([" ".join(WORDS)], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=3 * hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=128,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            tie_word_embeddings=True,
        )
    )
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
