"""Headers of GGUF files, read without a library in milliseconds.

The format: github.com/ggml-org/ggml, docs/gguf.md. All numbers are little-endian.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dpo_core.errors import BadInput
from dpo_core.install_hint import install

SUFFIX = ".gguf"

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_STRING, _ARRAY = 8, 9
_NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
"""Type of a value → its format for struct."""
_MOST_DIMENSIONS = 4

BLOCKS: Mapping[int, tuple[int, int]] = {
    **{0: (1, 4), 1: (1, 2), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8)},
    **{2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40)},
    **{10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210)},
    **{15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50)},
    **{20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 29: (256, 56)},
    **{30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18)},
}
"""Type of a tensor → (values, bytes) of one of its blocks."""


@dataclass(frozen=True)
class GgufHeader:
    """values: metadata by key; for an array of texts, its length. tensors: name → shape, fastest
    dimension first."""

    values: Mapping[str, Any]
    tensors: Mapping[str, tuple[int, ...]]

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))

    def of_model(self, key: str) -> Any:
        """The value of an architecture key such as `block_count`; None where it is missing.

        Where layers differ it is the largest value.
        """
        value = self.values.get(f"{self.architecture}.{key}")
        return max(value, default=None) if isinstance(value, list) else value

    @property
    def parameters(self) -> int:
        return sum(map(math.prod, self.tensors.values()))

    @property
    def ends(self) -> list[int]:
        """The ids that end an answer: end of text, and end of turn where it differs."""
        keys = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
        return list(dict.fromkeys(self.values[key] for key in keys if key in self.values))

    @property
    def has_chat_template(self) -> bool:
        return bool(self.values.get("tokenizer.chat_template"))


def names_gguf(model: str | Path) -> bool:
    """Whether `model` is the path of a GGUF file, not a folder or hub id. It need not exist."""
    path = Path(model)
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def check_package() -> None:
    """Raise BadInput where the package gguf, which reads the weights, is not installed."""
    if find_spec("gguf") is None:
        raise BadInput(
            "a GGUF file needs the package gguf, which is not installed",
            f"Run {install('gguf')}.",
        )


def read_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file.

    Raises BadInput for a file that is missing, not GGUF, incomplete, or one part of several.
    """
    if not path.is_file():
        raise BadInput(f"there is no file {path}", "Give the path of a .gguf file.")
    with path.open("rb") as file:
        size = path.stat().st_size
        if size < len(_MAGIC) or file.read(len(_MAGIC)) != _MAGIC:
            raise BadInput(
                f"{path} is not a GGUF file: it does not begin with the bytes GGUF",
                "Give the file itself, not a web page or pointer saved in its place.",
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as blob:
            try:
                header, end = _parse(_Reader(blob), path)
            except (struct.error, UnicodeDecodeError) as error:
                raise _incomplete(
                    path, f"its header is damaged or ends after {size:,} bytes"
                ) from error
    if end > size:
        raise _incomplete(path, f"it has {size:,} of {end:,} bytes")
    parts = header.values.get("split.count", 1)
    if parts > 1:
        raise BadInput(
            f"{path} is one of {parts} parts of a model",
            "Join them first: llama-gguf-split --merge FIRST_PART OUT",
        )
    return header


def _incomplete(path: Path, how: str) -> BadInput:
    return BadInput(f"{path} is incomplete: {how}", "Download or copy it again.")


class _Reader:
    """Reads values one after another."""

    def __init__(self, blob: mmap.mmap) -> None:
        self.blob = blob
        self.at = 0

    def take(self, format: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{format}", self.blob, self.at)
        self.at += struct.calcsize(f"<{format}")
        return values

    def number(self, format: str) -> Any:
        return self.take(format)[0]

    def text(self) -> str:
        length = self.number("Q")
        self.skip(length)
        return self.blob[self.at - length : self.at].decode("utf-8")

    def skip(self, length: int) -> None:
        if length > len(self.blob) - self.at:
            raise struct.error("beyond the end")
        self.at += length

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self.array(*self.take("IQ"))
        if kind not in _NUMBERS:
            raise struct.error(f"no type {kind}")
        return self.number(_NUMBERS[kind])

    def array(self, kind: int, count: int) -> Any:
        if kind == _STRING:
            for _ in range(count):
                self.skip(self.number("Q"))
            return count
        if kind not in _NUMBERS:
            raise struct.error(f"no array of type {kind}")
        start, format = self.at, f"<{count}{_NUMBERS[kind]}"
        self.skip(count * struct.calcsize(f"<{_NUMBERS[kind]}"))
        return list(struct.unpack_from(format, self.blob, start))


def _parse(reader: _Reader, path: Path) -> tuple[GgufHeader, int]:
    """(header, size that the whole file should have, in bytes)."""
    reader.skip(len(_MAGIC))
    version, tensors, pairs = reader.take("IQQ")
    if version not in _VERSIONS:
        raise BadInput(
            f"{path} is a GGUF file of version {version}; versions 2 and 3 can be read",
            "Convert the model again with a current llama.cpp.",
        )
    values = {}
    for _ in range(pairs):
        key = reader.text()
        values[key] = reader.value(reader.number("I"))
    shapes, last = {}, 0
    for _ in range(tensors):
        name, dimensions = reader.text(), reader.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise struct.error(f"{dimensions} dimensions")
        shape, kind, offset = reader.take(f"{dimensions}Q"), *reader.take("IQ")
        shapes[name] = shape
        count, size = BLOCKS.get(kind, (1, 0))  # the size of future types is unknown
        last = max(last, offset + math.prod(shape) // count * size)
    alignment = values.get("general.alignment", 32)
    return GgufHeader(values, shapes), -(-reader.at // alignment) * alignment + last
