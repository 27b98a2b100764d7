"""The judge of the campaign: it counts words by a module beside it."""

from old_words import words


def score(completions):
    return [-float(words(completion.text)) for completion in completions]
