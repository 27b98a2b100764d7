"""The folder of what all campaigns of one user share: bases, copies of buckets, environments."""

import math
import os
from pathlib import Path

from platformdirs import user_cache_path

from dpo_core.errors import ConfigError

SIZE = "RATCHET_CACHE_GIB"
DEFAULT_GIB = 5.0


def user_cache() -> Path:
    """`RATCHET_CACHE_DIR` of the environment, or the system's own place: ~/.cache/ratchet."""
    chosen = os.environ.get("RATCHET_CACHE_DIR")
    return Path(chosen).expanduser().absolute() if chosen else user_cache_path("ratchet")


def cache_bytes() -> float:
    """How much the bases in it may take together; 0: none are kept or taken. Raises ConfigError."""
    given = os.environ.get(SIZE) or str(DEFAULT_GIB)
    try:
        gib = float(given)
    except ValueError:
        gib = math.nan
    if not gib >= 0:
        raise ConfigError(
            f"{SIZE} must be a size in GiB, at least 0 (found {given})",
            "Set it to a number such as 5, or to 0 for no cache of bases.",
        )
    return gib * 2**30
