"""A model's shape, from its config and the headers of its weights. Reads no tensor."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.errors import BadInput
from dpo_core.gguf.header import names_gguf, read_header
from dpo_core.weight_files import stored_parameters


@dataclass(frozen=True)
class Shape:
    """parameters: None where unknown. positions: longest sequence in tokens; None where unknown."""

    parameters: int | None
    layers: int
    hidden: int
    inner: int
    vocabulary: int
    kv_heads: int
    head_dim: int
    positions: int | None


def read_shape(folder: Path) -> Shape | None:
    """The shape of the model in a folder or GGUF file; None where its config is not a decoder's."""
    if names_gguf(folder):
        return _read_gguf_shape(folder)
    config = read_json(folder / "config.json")
    config = config.get("text_config") or config
    try:
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        return Shape(
            parameters=stored_parameters(folder),
            layers=config["num_hidden_layers"],
            hidden=hidden,
            inner=config.get("intermediate_size") or 4 * hidden,
            vocabulary=config["vocab_size"],
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or hidden // heads,
            positions=config.get("max_position_embeddings"),
        )
    except (KeyError, TypeError):
        return None


def _read_gguf_shape(file: Path) -> Shape | None:
    """The shape by llama.cpp's names; None where the header cannot be read."""
    try:
        header = read_header(file)
        hidden, heads = header.of_model("embedding_length"), header.of_model("attention.head_count")
        return Shape(
            parameters=header.parameters,
            layers=header.of_model("block_count"),
            hidden=hidden,
            inner=header.of_model("feed_forward_length") or 4 * hidden,
            vocabulary=header.of_model("vocab_size") or header.values["tokenizer.ggml.tokens"],
            kv_heads=header.of_model("attention.head_count_kv") or heads,
            head_dim=header.of_model("attention.key_length") or hidden // heads,
            positions=header.of_model("context_length"),
        )
    except (BadInput, KeyError, TypeError):
        return None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
