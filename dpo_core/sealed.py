"""Sealed JSON: objects with a checksum that shows whether they are still as written.

A sealed object carries the CRC-32 of its other keys, which detects any single flipped bit and any
burst of up to 32. Objects from before seals were introduced are not checked.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_text

SEAL = "crc32"
"""Key of the checksum, always the last key of an object."""


class BrokenSeal(ValueError):
    """The object differs from what was written."""


def to_json(value: Any, indent: int | None = None) -> str:
    """The JSON of `value`, non-ASCII characters unescaped."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def encode_text(text: str) -> bytes:
    """UTF-8, even for text with lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def seal(value: Mapping[str, object]) -> dict[str, object]:
    """`value` with its checksum. Keys must be strings, as they are read back."""
    return {**value, SEAL: _crc(value)}


def read_sealed(text: bytes) -> tuple[dict[str, Any], bool]:
    """(the object without its checksum, whether it had one).

    Raises BrokenSeal where the text is not a JSON object, or not the one that was sealed.
    """
    try:
        value = json.loads(text.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise BrokenSeal(f"it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BrokenSeal("it is not a JSON object")
    if SEAL not in value:
        *others, (_, last) = value.items() or ((None, None),)
        if last == _crc(dict(others)):
            raise BrokenSeal("its checksum has another name")
        return value, False
    expected = value.pop(SEAL)
    if expected != _crc(value):
        raise BrokenSeal(f"its checksum is {_crc(value)}, not {expected} as written")
    return value, True


def write_sealed(path: Path, value: Mapping[str, object]) -> None:
    """Write the sealed object to a file, atomically and indented."""
    write_text(path, to_json(seal(value), indent=1) + "\n")


def _crc(value: Mapping[str, object]) -> str:
    return f"{zlib.crc32(encode_text(to_json(value))):08x}"
