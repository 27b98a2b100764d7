"""A folder with a policy, prompts and a config that would work, and a server that answers."""

import json
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import yaml

from dpo_core.model_shape import Shape
from flows.config import CampaignConfig, load_config

LLAMA_8B = Shape(8_030_261_248, 32, 4096, 14336, 128256, 8, 128, 8192)
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho"
ENVIRONMENT = ("PREFECT_API_URL", "ARGILLA_API_URL", "ARGILLA_API_KEY")


def write_policy(folder: Path) -> Path:
    """The files of a tiny Llama of 128 positions, as far as they are read as JSON."""
    folder.mkdir(exist_ok=True)
    model = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 10,
        "intermediate_size": 16,
        "max_position_embeddings": 128,
    }
    (folder / "config.json").write_text(json.dumps(model))
    (folder / "generation_config.json").write_text('{"eos_token_id": 1}')
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<eos>"}')
    tokens = [{"id": 1, "content": "<eos>"}]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    write_weights(folder)
    return folder


def write_weights(folder: Path) -> None:
    """Of 10 × 8 and 6 parameters, as far as the header goes."""
    header = json.dumps({"__metadata__": {}, "a": {"shape": [10, 8]}, "b": {"shape": [6]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


def write_prompts(folder: Path, rows: Iterable[Any]) -> None:
    """Texts, or whole rows."""
    rows = ({"prompt": row} if isinstance(row, str) else row for row in rows)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "prompts.jsonl").write_text(text)


def chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def write_config(folder: Path, **changes: Any) -> CampaignConfig:
    """Of the policy and the prompts in `folder`."""
    raw: dict[str, Any] = {
        "name": "planted",
        "rounds": 2,
        "policy": {"model": str(folder / "policy")},
        "prompts": {"path": str(folder / "prompts.jsonl"), "per_round": 8},
        "sampling": {"max_tokens": 16, "max_model_len": 64},
        "judge": {"function": "examples.reviews.judge:score"},
        "evaluation": {"gate_prompts": 8, "test_prompts": 8},
    }
    for key, value in changes.items():
        raw[key] = {**raw[key], **value} if key in ("prompts", "sampling") else value
    (folder / "config.yaml").write_text(yaml.safe_dump(raw))
    return load_config(folder / "config.yaml")


@contextmanager
def answering(replies: dict[str, Any]) -> Iterator[str]:
    """The address of a server on this machine; replies: path → JSON, or a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = replies.get(self.path, 404)
            self.send_response(reply if isinstance(reply, int) else 200)
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
