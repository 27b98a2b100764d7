"""A tiny chat model in a GGUF file: a random Llama of two layers whose tokens are bytes, and
an empty line."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

BEGIN, END, TURN, SPECIAL = 0, 1, 2, ["<|im_start|>", "<|im_end|>", "<|turn_end|>"]
VOCABULARY, HIDDEN, INNER, LAYERS, HEADS, POSITIONS = 3 + 256 + 1, 64, 128, 2, 2, 256
NEWLINES = VOCABULARY - 1
"""The one token of two bytes: an empty line."""
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nbe kind<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _byte_texts() -> list[str]:
    """GPT-2's letters for the 256 bytes, in the order of the bytes."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in own else next(others)) for byte in range(256)]


def write_tiny_gguf(
    path: Path,
    *,
    seed: int = 0,
    kind: Kind = Kind.Q8_0,
    architecture: str = "llama",
    without: Collection[str] = (),
    **values: Any,
) -> Path:
    """kind: of the matrices; norms are F32. without: keys and tensors to leave out. values: more
    metadata, a dot written as two underscores."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {**_metadata(architecture), **_keys(values)}.items():
        if key not in without:
            _add(writer, key, value)
    rng = np.random.default_rng(seed)
    for name, shape in _shapes().items():
        if name in without:
            continue
        if len(shape) == 1:
            writer.add_tensor(name, np.ones(shape, np.float32))
            continue
        matrix = rng.normal(0, 0.1, shape).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(matrix, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _keys(values: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in values.items()}


def _metadata(architecture: str) -> dict[str, Any]:
    model = {
        "block_count": LAYERS,
        "context_length": POSITIONS,
        "embedding_length": HIDDEN,
        "feed_forward_length": INNER,
        "attention.head_count": HEADS,
        "attention.head_count_kv": 1,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10000.0,
        "rope.dimension_count": HIDDEN // HEADS,
        "vocab_size": VOCABULARY,
    }
    return {
        "general.name": "tiny",
        **{f"{architecture}.{key}": value for key, value in model.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [*SPECIAL, *_byte_texts(), "ĊĊ"],
        "tokenizer.ggml.token_type": [3] * 3 + [1] * 257,
        "tokenizer.ggml.merges": ["Ċ Ċ"],
        "tokenizer.ggml.bos_token_id": BEGIN,
        "tokenizer.ggml.eos_token_id": END,
        "tokenizer.ggml.padding_token_id": END,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _shapes() -> dict[str, tuple[int, ...]]:
    key_values = HIDDEN // HEADS
    layer = {
        "attn_norm": (HIDDEN,),
        "ffn_norm": (HIDDEN,),
        "attn_q": (HIDDEN, HIDDEN),
        "attn_k": (key_values, HIDDEN),
        "attn_v": (key_values, HIDDEN),
        "attn_output": (HIDDEN, HIDDEN),
        "ffn_gate": (INNER, HIDDEN),
        "ffn_up": (INNER, HIDDEN),
        "ffn_down": (HIDDEN, INNER),
    }
    blocks = {
        f"blk.{number}.{name}.weight": shape
        for number in range(LAYERS)
        for name, shape in layer.items()
    }
    return {"token_embd.weight": (VOCABULARY, HIDDEN), "output_norm.weight": (HIDDEN,), **blocks}


PARAMETERS = sum(math.prod(shape) for shape in _shapes().values())
