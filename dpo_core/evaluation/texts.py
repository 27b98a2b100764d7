"""How a policy writes: repetition, variety, likeness of samples, refusals.

Words are runs of letters and digits of the normalised text; of Chinese and Japanese, which set no
spaces, single characters. Every share is None where nothing could be counted.
"""

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import combinations
from statistics import fmean
from typing import TypeVar

from dpo_core.hashing import normalise

REFUSAL = (
    r"\b(?:i(?:['’]m| am) (?:sorry|unable|not able)|(?:i )?(?:can(?:not|['’]t)|won['’]t|"
    r"will not) (?:help|assist|comply|provide|answer|fulfil)|as an ai\b)"
)
"""How refusals begin in English; searched regardless of case."""

_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W_぀-ヿ㐀-鿿]+")
"""A Japanese or Chinese character, or a run of other letters and digits."""

_REPEATED_RUN = 4
"""Words of a run whose return counts as repetition (Welleck et al. 2020, seq-rep-4)."""

Words = Sequence[str]
Word = TypeVar("Word", bound=Hashable)


def words(text: str) -> list[str]:
    return _WORD.findall(normalise(text))


def ngrams(said: Sequence[Word], n: int) -> Iterator[tuple[Word, ...]]:
    """Runs of n words."""
    return zip(*(said[start:] for start in range(n)), strict=False)


def repetition(said: Sequence[Hashable], n: int = _REPEATED_RUN) -> float | None:
    """Share of an answer's runs of n words that stood in it before: 1 − |distinct| / |all|.

    Source: Welleck et al. 2020, "Neural text generation with unlikelihood training", section 6.1.
    None for answers of fewer than n words. The words may be token ids.
    """
    runs = list(ngrams(said, n))
    return 1 - len(set(runs)) / len(runs) if runs else None


def distinct(answers: Iterable[Words], n: int) -> float | None:
    """Distinct runs of n words in all answers together, as a share of all runs.

    Source: Li et al. 2016, "A diversity-promoting objective function for neural conversation
    models", section 5.1. It falls as more is written: compare policies on the same prompts only.
    """
    runs = [run for said in answers for run in ngrams(said, n)]
    return len(set(runs)) / len(runs) if runs else None


def self_similarity(samples: Sequence[Words], n: int = 2) -> float | None:
    """Mean likeness of two samples of one prompt: runs of n words that both hold, as a share of
    those that either holds (Jaccard). 1: all say the same; None for fewer than two such samples.

    The question is Self-BLEU's (Zhu et al. 2018, "Texygen"), symmetric and without its weights.
    """
    runs = [found for said in samples if (found := set(ngrams(said, n)))]
    likeness = [len(a & b) / len(a | b) for a, b in combinations(runs, 2)]
    return fmean(likeness) if likeness else None


def refusals(texts: Iterable[str], pattern: str = REFUSAL) -> list[bool]:
    """Whether the pattern is found in each text. Raises ValueError for one that cannot be read."""
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return [compiled.search(text) is not None for text in texts]
