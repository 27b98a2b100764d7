"""Content hashes, and seeds derived from them. No I/O except reading the files to hash."""

import hashlib
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

ID_HEX = 16
"""Length of the ids of prompts, completions, pairs and policies: 64 bits."""

SEED_SPACING = 1 << 16
"""vLLM gives sample i of a request the seed `seed + i`; seeds of requests lie this far apart."""


def digest(*parts: Any) -> str:
    """SHA-256 of the canonical JSON of `parts`, 64 hex characters."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def content_id(*parts: Any) -> str:
    return digest(*parts)[:ID_HEX]


def text_id(kind: str, text: str) -> str:
    """Id of one text, at a third of the cost of content_id: for pools of millions."""
    return hashlib.sha256(f"{kind}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()[:ID_HEX]


def derive_seed(*parts: Any) -> int:
    """A seed in [0, 2^62), a multiple of SEED_SPACING, that depends on `parts` alone."""
    return int(digest(*parts)[:ID_HEX], 16) >> 2 & ~(SEED_SPACING - 1)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_WEIGHTS = {".bin", ".gguf", ".safetensors"}
_MODEL_SUFFIXES = _WEIGHTS | {".jinja", ".json", ".model", ".py", ".tiktoken", ".txt"}


def model_files(folder: Path) -> list[Path]:
    """The files that determine a model's behaviour, by name: weights, tokenizer, chat templates,
    generation config, config. Others beside them (a card, pictures, optimiser state) do not count.
    """
    candidates = [*folder.glob("*"), *folder.glob("additional_chat_templates/*.jinja")]
    return sorted(path for path in candidates if path.suffix in _MODEL_SUFFIXES and path.is_file())


def policy_id(policy_dir: Path, hash_of: Callable[[Path], str] = file_sha256) -> str:
    """Id of a policy: hash of the files that determine its behaviour (see `model_files`).

    A single file (GGUF) is hashed by its contents, whatever its name. hash_of: returns a file's
    SHA-256, possibly from a cache. Raises FileNotFoundError for a folder without weights.
    """
    if policy_dir.is_file():
        return content_id([hash_of(policy_dir)])
    files = model_files(policy_dir)
    if not any(file.suffix in _WEIGHTS for file in files):
        raise FileNotFoundError(f"no weights in {policy_dir}")
    return content_id([[file.relative_to(policy_dir).as_posix(), hash_of(file)] for file in files])


def normalise(text: str) -> str:
    """Normal form by which prompts count as the same: NFKC, case folded, white space collapsed."""
    if text.isascii():  # NFKC changes nothing, and lower case is the folded case
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
