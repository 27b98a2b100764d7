"""Checks of single pairs: dropped, truncated, tied, identical, near-duplicate and empty answers."""

from rapidfuzz.distance import Levenshtein

from dpo_core.hashing import normalise
from labeling.audit.config import AuditConfig
from labeling.audit.findings import AuditFinding, first_examples, limit_message, reached_message
from labeling.audit.material import Material, Preference


def find_identical_texts(material: Material, config: AuditConfig) -> AuditFinding:
    """Chosen and rejected are the same text, character by character."""
    return _bad(material, [p for p in material.preferences if p.chosen.text == p.rejected.text])


def find_empty_answers(material: Material, config: AuditConfig) -> AuditFinding:
    """An answer is empty or white space, or only EOS."""
    bad = [p for p in material.preferences if any(not a.text.strip() for a in p.answers)]
    return _bad(material, bad)


def find_near_duplicates(material: Material, config: AuditConfig) -> AuditFinding:
    """Chosen and rejected differ in a few characters, ignoring case and spacing."""
    similar = [
        (similarity, p)
        for p in material.preferences
        if (similarity := _similarity(p, config.near_duplicate_at)) >= config.near_duplicate_at
    ]
    count, of = len(similar), len(material.preferences)
    because = limit_message(
        count, of, config.max_near_duplicates_share, "max_near_duplicates_share"
    )
    examples = first_examples(
        f"{p.describe()}, similarity {similarity:.3f}" for similarity, p in similar
    )
    return AuditFinding(count, of, "preferences", because, examples)


def _similarity(preference: Preference, at: float) -> float:
    """1 − edits / length of the longer text; 0 below `at`, and 0 for identical texts, which have a
    check of their own."""
    if preference.chosen.text == preference.rejected.text:
        return 0.0
    chosen, rejected = (normalise(answer.text) for answer in preference.answers)
    return float(Levenshtein.normalized_similarity(chosen, rejected, score_cutoff=at))


def _bad(material: Material, bad: list[Preference]) -> AuditFinding:
    examples = first_examples(p.describe() for p in bad)
    return AuditFinding(
        len(bad), len(material.preferences), "preferences", reached_message(len(bad)), examples
    )


def find_dropped(material: Material, config: AuditConfig) -> AuditFinding:
    """Judged pairs without preference."""
    step = material.aggregation
    of = step.came_in - step.by_choice
    lost = sum(step.reasons.values()) - step.by_choice
    because = limit_message(lost, of, config.max_dropped_share, "max_dropped_share")
    examples = first_examples(f"{count} {name}" for name, count in step.reasons.items())
    return AuditFinding(lost, of, "pairs", because, examples)


def find_truncated(material: Material, config: AuditConfig) -> AuditFinding:
    """Answers cut at the length limit: pairs dropped for them, and preferences with them."""
    cut = [p for p in material.preferences if _is_cut(p, material)]
    count = len(cut) + sum(
        step.count("truncated") for step in (material.selection, material.aggregation)
    )
    of = max(material.selection.came_in, len(material.preferences))
    because = reached_message(len(cut)) if material.truncated != "keep" else ""
    because = because or limit_message(count, of, config.max_truncated_share, "max_truncated_share")
    return AuditFinding(count, of, "pairs", because, first_examples(p.describe() for p in cut))


def _is_cut(preference: Preference, material: Material) -> bool:
    """Whether a preference has a truncated answer; with `reject` the rejected one may be."""
    if material.truncated == "reject":
        return not preference.chosen.finished
    return not all(answer.finished for answer in preference.answers)


def find_ties(material: Material, config: AuditConfig) -> AuditFinding:
    """Pairs without a better answer: dropped, or among the preferences."""
    tied = [p for p in material.preferences if _tied(p, material)]
    count = len(tied) + material.aggregation.count("tie", "both_bad")
    of = max(material.aggregation.came_in, len(material.preferences))
    because = reached_message(len(tied)) or limit_message(
        count, of, config.max_ties_share, "max_ties_share"
    )
    undecided = (f"pair {pair_id}: dropped" for pair_id in sorted(material.judged.undecided))
    examples = first_examples((*(p.describe() for p in tied), *undecided))
    return AuditFinding(count, of, "pairs", because, examples)


def _tied(preference: Preference, material: Material) -> bool:
    return preference.p_chosen <= 0.5 or preference.pair_id in material.judged.undecided
