"""Held-out prompts that share words with training prompts although they are not the same."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dpo_core.evaluation.texts import ngrams, words

RUN = 13
"""Words of a shared run that count (Brown et al. 2020, "Language models are few-shot learners",
appendix C)."""


@dataclass(frozen=True)
class Overlap:
    """prompts: ids of held-out prompts that share a run of `ngram` words, `of` so many."""

    prompts: tuple[str, ...]
    of: int
    ngram: int


def find_overlap(held_out: Mapping[str, str], training: Iterable[str], ngram: int = RUN) -> Overlap:
    """Of held-out prompts (prompt_id → text) with the texts of training prompts, read as a stream.

    A held-out prompt shorter than `ngram` words counts when all of it stands in a training prompt
    of which it is at least half. A run that several held-out prompts contain is their template and
    does not count. Raises ValueError for runs of no words.
    """
    if ngram < 1:
        raise ValueError(f"runs have at least one word, not {ngram}")
    holders: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for prompt_id, text in held_out.items():
        said = words(text)
        for run in ngrams(said, min(ngram, len(said))) if said else ():
            holders[run].add(prompt_id)
    own = {run: next(iter(ids)) for run, ids in holders.items() if len(ids) == 1}
    lengths = {len(run) for run in own}
    found: set[str] = set()
    for text in training:
        said = words(text)
        for length in lengths:
            if length == ngram or 2 * length >= len(said):
                found.update(own[run] for run in ngrams(said, length) if run in own)
    return Overlap(tuple(sorted(found)), len(held_out), ngram)
