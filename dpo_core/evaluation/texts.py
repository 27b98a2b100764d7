"""How a policy writes: repetition, variety, similarity of samples, refusals.

Words are runs of letters and digits of the normalised text; in Chinese and Japanese, which set no
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
"""How refusals begin in English; case is ignored."""

_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W_぀-ヿ㐀-鿿]+")
"""A Japanese or Chinese character, or a run of other letters and digits."""

_REPEATED_RUN = 4
"""Words of a run whose recurrence counts as repetition (Welleck et al. 2020, seq-rep-4)."""

Words = Sequence[str]
Word = TypeVar("Word", bound=Hashable)


def words(text: str) -> list[str]:
    """The words of a text, normalised.

    Example:
        >>> words("It's 5 o'clock")
        ['it', 's', '5', 'o', 'clock']
    """
    return _WORD.findall(normalise(text))


def ngrams(words: Sequence[Word], n: int) -> Iterator[tuple[Word, ...]]:
    """Runs of n words."""
    return zip(*(words[start:] for start in range(n)), strict=False)


def repetition(words: Sequence[Hashable], n: int = _REPEATED_RUN) -> float | None:
    """Share of an answer's runs of n words that occurred in it before: 1 − |distinct| / |all|.

    Welleck et al. 2020, "Neural text generation with unlikelihood training", section 6.1.

    Args:
        words: the words of one answer, or its token ids.
        n: words of a run.

    Returns:
        A share in [0, 1]; None for answers of fewer than n words.

    Example:
        >>> repetition("a b a b a b".split(), n=2)
        0.6
    """
    runs = list(ngrams(words, n))
    return 1 - len(set(runs)) / len(runs) if runs else None


def distinct(answers: Iterable[Words], n: int) -> float | None:
    """Distinct runs of n words in all answers together, as a share of all runs.

    Li et al. 2016, "A diversity-promoting objective function for neural conversation models",
    section 5.1. It falls as more is written: compare policies on the same prompts only.

    Args:
        answers: the words of each answer.
        n: words of a run.

    Returns:
        A share in (0, 1]; None without runs.

    Example:
        >>> distinct([["a", "b"], ["a", "c"]], n=1)
        0.75
    """
    runs = [run for answer in answers for run in ngrams(answer, n)]
    return len(set(runs)) / len(runs) if runs else None


def self_similarity(samples: Sequence[Words], n: int = 2) -> float | None:
    """Mean Jaccard similarity of two samples: runs of n words in both as a share of runs in either.

    It measures what Self-BLEU does (Zhu et al. 2018, "Texygen"), symmetric and without its weights.

    Args:
        samples: the words of each sample of one prompt.
        n: words of a run.

    Returns:
        A share in [0, 1], 1 where all samples are alike; None for fewer than two samples with runs.

    Example:
        >>> self_similarity([["a", "b"], ["a", "b"], ["c", "d"]])
        0.3333333333333333
    """
    runs = [sample_runs for sample in samples if (sample_runs := set(ngrams(sample, n)))]
    similarities = [len(a & b) / len(a | b) for a, b in combinations(runs, 2)]
    return fmean(similarities) if similarities else None


def refusals(texts: Iterable[str], pattern: str = REFUSAL) -> list[bool]:
    """Whether each text contains the pattern. Raises ValueError for an invalid expression."""
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return [compiled.search(text) is not None for text in texts]
