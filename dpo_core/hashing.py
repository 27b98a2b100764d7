"""Content hashes and the seeds derived from them. No I/O except reading the files to hash."""

import hashlib
import json
import unicodedata
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
    """Id of one text; a third of the cost of content_id, for pools of millions."""
    return hashlib.sha256(f"{kind}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()[:ID_HEX]


def derive_seed(*parts: Any) -> int:
    """A seed in [0, 2^62), a multiple of SEED_SPACING, that depends on `parts` alone."""
    return int(digest(*parts)[:ID_HEX], 16) >> 2 & ~(SEED_SPACING - 1)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_id(policy_dir: Path) -> str:
    """Id of a policy: hash of the safetensors files in `policy_dir`, in name order."""
    files = sorted(policy_dir.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no *.safetensors in {policy_dir}")
    return content_id([[file.name, file_sha256(file)] for file in files])


def normalise(text: str) -> str:
    """Form in which two prompts count as the same: NFKC, case folded, white space collapsed."""
    if text.isascii():  # NFKC changes nothing, and lower case is the folded case
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
