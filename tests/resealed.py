"""Sealed files changed as if they had been written so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_atomic
from dpo_core.sealed import SEAL, encode_text, read_sealed, seal, to_json, write_sealed


def reseal(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the object in a file of one in place, or those in a file of lines."""
    content = path.read_bytes()
    if path.suffix == ".jsonl":
        values = [read_sealed(line)[0] for line in content.splitlines()]
        for value in values:
            change(value)
        lines = b"".join(encode_text(to_json(seal(value))) + b"\n" for value in values)
        write_atomic(path, lambda beside: beside.write_bytes(lines))  # somebody may be reading
    else:
        found, _ = read_sealed(content)
        change(found)
        write_sealed(path, found)


def reseal_text(path: Path, old: str, new: str) -> None:
    """Put one text in another's place wherever it stands."""

    def change(value: dict[str, Any]) -> None:
        value.update(json.loads(to_json(value).replace(old, new)))

    reseal(path, change)


def unseal(path: Path) -> None:
    """Take the seals away, as campaigns of earlier versions have none."""
    objects = path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]
    values = [{k: v for k, v in json.loads(one).items() if k != SEAL} for one in objects]
    path.write_bytes(encode_text("".join(to_json(value) + "\n" for value in values)))
