"""Overlap: held-out prompts that share a long n-gram with a training prompt."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dpo_core.evaluation.texts import ngrams, words

RUN = 13
"""Words of an n-gram that count as overlap (Brown et al. 2020, "Language models are few-shot
learners", appendix C)."""


@dataclass(frozen=True)
class Overlap:
    """prompts: ids of the held-out prompts, `of` so many, that share an n-gram of `ngram` words."""

    prompts: tuple[str, ...]
    of: int
    ngram: int


def find_overlap(held_out: Mapping[str, str], training: Iterable[str], ngram: int = RUN) -> Overlap:
    """Find held-out prompts that share an n-gram with a training prompt.

    A held-out prompt shorter than `ngram` words counts when a training prompt contains all of it
    and is at most twice as long. An n-gram that several held-out prompts contain is their template
    and does not count.

    Args:
        held_out: prompt_id → text.
        training: texts of training prompts, read once.
        ngram: words of an n-gram.

    Returns:
        Overlap.

    Raises:
        ValueError: `ngram` is below 1.

    Example:
        >>> find_overlap({"p": "how old is the sun"}, ["tell me how old is it"], ngram=3).prompts
        ('p',)
    """
    if ngram < 1:
        raise ValueError(f"ngram must be at least 1, not {ngram}")
    holders: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for prompt_id, text in held_out.items():
        tokens = words(text)
        for run in ngrams(tokens, min(ngram, len(tokens))) if tokens else ():
            holders[run].add(prompt_id)
    own = {run: next(iter(ids)) for run, ids in holders.items() if len(ids) == 1}
    lengths = {len(run) for run in own}
    overlapping: set[str] = set()
    for text in training:
        tokens = words(text)
        for length in lengths:
            if length == ngram or 2 * length >= len(tokens):
                overlapping.update(own[run] for run in ngrams(tokens, length) if run in own)
    return Overlap(tuple(sorted(overlapping)), len(held_out), ngram)
