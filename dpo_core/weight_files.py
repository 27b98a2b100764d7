"""Headers of safetensors files. Reads no tensor."""

import json
import math
import struct
from pathlib import Path

WEIGHTS = "*.safetensors"


def stored_parameters(folder: Path) -> int | None:
    """Number of weights in the folder's safetensors files, from their headers.

    None where there are no such files, or a header cannot be read.
    """
    files = sorted(folder.glob(WEIGHTS))
    return sum(map(_weights_in, files)) if files and find_torn_file(folder) is None else None


def find_torn_file(folder: Path) -> Path | None:
    """The first weight file whose header cannot be read, or None."""
    for path in sorted(folder.glob(WEIGHTS)):
        try:
            _weights_in(path)
        except (OSError, struct.error, ValueError, LookupError, TypeError, AttributeError):
            return path
    return None


def _weights_in(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    shapes = (entry["shape"] for name, entry in header.items() if name != "__metadata__")
    return sum(math.prod(shape) for shape in shapes)
