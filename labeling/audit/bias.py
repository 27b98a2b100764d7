"""Checks of the whole round: length bias, position bias, and overlap with held-out prompts.

Training on held-out prompts would make the win rate measure memorisation.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from math import inf
from statistics import mean

from dpo_core.hashing import normalise
from dpo_core.records import Prompt, prompt_id
from labeling.audit.config import AuditConfig
from labeling.audit.findings import (
    AuditFinding,
    excerpt,
    first_examples,
    limit_message,
    reached_message,
)
from labeling.audit.material import Material


def find_length_skew(material: Material, config: AuditConfig) -> AuditFinding:
    """How often the longer answer is chosen, or the shorter one if that is more frequent."""
    preferences = material.preferences
    if not preferences:
        return AuditFinding(0, 0, "preferences of unequal length")
    gaps = {p.pair_id: p.chosen.tokens - p.rejected.tokens for p in preferences}
    longer, shorter = (sum(s * gap > 0 for gap in gaps.values()) for s in (1, -1))
    word, sign = ("longer", 1) if longer >= shorter else ("shorter", -1)
    chosen = mean(p.chosen.tokens for p in preferences)
    ratio = chosen / max(mean(p.rejected.tokens for p in preferences), 1e-9)
    because = ""
    if len(preferences) >= config.fewest and _apart(ratio) > config.max_length_ratio:
        limit = f"audit.max_length_ratio, {config.max_length_ratio:g}"
        because = f"mean tokens, chosen to rejected, are {ratio:.3g}: beyond {limit}"
    furthest = sorted(preferences, key=lambda p: -sign * gaps[p.pair_id])
    examples = (f"mean tokens chosen to rejected: {ratio:.3g}", *(p.describe() for p in furthest))
    unit = f"preferences of unequal length choose the {word} answer"
    count, of = max(longer, shorter), longer + shorter
    return AuditFinding(count, of, unit, because, first_examples(examples))


def _apart(ratio: float) -> float:
    return max(ratio, 1 / ratio) if ratio > 0 else inf


def find_same_side(material: Material, config: AuditConfig) -> AuditFinding:
    """Verdicts of the most one-sided source for its most frequent side."""
    sides: dict[str, Mapping[str, int]] = {
        **material.judged.sides,
        "the preferences": Counter(p.side for p in material.preferences if p.side),
    }
    enough = {s: counts for s, counts in sides.items() if sum(counts.values()) >= config.fewest}
    ranked = sorted(
        ((max(counts.values()), sum(counts.values()), s) for s, counts in enough.items()),
        key=lambda entry: -entry[0] / entry[1],
    )
    if not ranked:
        return AuditFinding(0, 0, "verdicts")
    count, of, source = ranked[0]
    limit = config.max_same_side_share
    because = f"{source} names one side" if count / of > limit else ""
    if because:
        because += f": a share of {count / of:.3g} is above audit.max_same_side_share, {limit:g}"
    examples = (
        f"{s}: {count} of {of} name {max(enough[s], key=enough[s].__getitem__)}"
        for count, of, s in ranked
    )
    return AuditFinding(count, of, "verdicts", because, first_examples(examples))


def find_contaminated(material: Material, config: AuditConfig) -> AuditFinding:
    """A prompt is a held-out one, ignoring case and spacing."""
    held_out = {key for prompt in material.held_out for key in _ids(prompt)}
    bad = [p for p in material.preferences if held_out.intersection(_ids(p.prompt))]
    examples = first_examples(f"pair {p.pair_id}: prompt {excerpt(p.prompt.shown())}" for p in bad)
    return AuditFinding(
        len(bad), len(material.preferences), "preferences", reached_message(len(bad)), examples
    )


def find_held_out_overlap(material: Material, config: AuditConfig) -> AuditFinding:
    """A prompt shares a run of words that occurs in exactly one held-out prompt.

    A run in several held-out prompts is taken for their template and does not count.
    """
    held_out = (set(_runs(prompt, config.overlap_words)) for prompt in material.held_out)
    holders = Counter(run for runs in held_out for run in runs)
    unique = {run for run, count in holders.items() if count == 1}
    overlapping = [
        (run, p)
        for p in material.preferences
        if (run := next((r for r in _runs(p.prompt, config.overlap_words) if r in unique), None))
    ]
    count, of = len(overlapping), len(material.preferences)
    because = limit_message(count, of, config.max_overlap_share, "max_overlap_share")
    examples = first_examples(
        f"pair {p.pair_id}: {excerpt(' '.join(run))}" for run, p in overlapping
    )
    return AuditFinding(count, of, "preferences", because, examples)


def _ids(prompt: Prompt) -> set[str]:
    """Ids of the prompt, as given, as plain text and as one user message."""
    ids = {prompt.prompt_id}
    messages = prompt.messages or ()
    if prompt.text is not None:
        ids.add(prompt_id(prompt.text, None))
        ids.add(prompt_id(None, ({"role": "user", "content": prompt.text},)))
    elif messages:
        ids.add(prompt_id(None, messages))
        if [m["role"] for m in messages] == ["user"]:
            ids.add(prompt_id(messages[0]["content"], None))
    return ids


def _runs(prompt: Prompt, length: int) -> Iterator[tuple[str, ...]]:
    contents = [m["content"] for m in prompt.messages or () if m["role"] != "system"]
    words = normalise(prompt.text if prompt.text is not None else "\n".join(contents)).split()
    return (tuple(words[n : n + length]) for n in range(len(words) - length + 1))
