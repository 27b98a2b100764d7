"""JSON that says whether it is still what was written.

A sealed object carries the CRC-32 of the rest of it: any single flipped bit, and any burst of up to
32, is found when it is read. Objects from before there were seals are taken as they are.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_text

SEAL = "crc32"
"""Key of the checksum, the last one of an object."""


class BrokenSeal(ValueError):
    """What was read is not what was written."""


def to_json(value: Any, indent: int | None = None) -> str:
    """The JSON of `value`, with texts as they are."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def encode_text(text: str) -> bytes:
    """UTF-8, also of what no text should hold: half a surrogate pair."""
    return text.encode("utf-8", "surrogatepass")


def seal(value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` with its checksum, as it will be read back: keys are strings."""
    return {**value, SEAL: _crc(value)}


def read_sealed(text: bytes) -> tuple[dict[str, Any], bool]:
    """The object without its checksum, and whether it had one.

    Raises BrokenSeal where it is no JSON object, or not the one that was sealed.
    """
    try:
        found = json.loads(text.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise BrokenSeal(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise BrokenSeal("no JSON object")
    if SEAL not in found:
        *others, (_, last) = found.items() or ((None, None),)
        if last == _crc(dict(others)):
            raise BrokenSeal("its checksum has another name")
        return found, False
    expected = found.pop(SEAL)
    if expected != _crc(found):
        raise BrokenSeal(f"its checksum should be {expected} and is {_crc(found)}")
    return found, True


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the file by the sealed object, as `write_json` would."""
    write_text(path, to_json(seal(value), indent=1) + "\n")


def _crc(value: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(encode_text(to_json(value))):08x}"
