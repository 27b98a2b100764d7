"""Answers that teach nothing: the same text twice, nearly the same text, no text."""

from rapidfuzz.distance import Levenshtein

from dpo_core.hashing import normalise
from labeling.audit.config import AuditConfig
from labeling.audit.findings import AuditFinding, over, reached, some
from labeling.audit.material import Material, Preference


def identical_texts(material: Material, config: AuditConfig) -> AuditFinding:
    """Chosen and rejected are the same text, character by character."""
    return _bad(material, [p for p in material.preferences if p.chosen.text == p.rejected.text])


def empty_answers(material: Material, config: AuditConfig) -> AuditFinding:
    """An answer is empty, white space, or only EOS."""
    bad = [p for p in material.preferences if any(not a.text.strip() for a in p.answers)]
    return _bad(material, bad)


def near_duplicates(material: Material, config: AuditConfig) -> AuditFinding:
    """Chosen and rejected differ in a few characters, case and spacing apart."""
    found = [
        (similarity, p)
        for p in material.preferences
        if (similarity := _similarity(p, config.near_duplicate_at)) >= config.near_duplicate_at
    ]
    count, of = len(found), len(material.preferences)
    because = over(count, of, config.max_near_duplicates_share, "max_near_duplicates_share")
    examples = some(f"{p.shown()}, similarity {similarity:.3f}" for similarity, p in found)
    return AuditFinding(count, of, "preferences", because, examples)


def _similarity(preferred: Preference, at: float) -> float:
    """1 − edits / length of the longer text, 0 where it is below `at`; 0 for identical texts,
    which are a finding of their own."""
    if preferred.chosen.text == preferred.rejected.text:
        return 0.0
    chosen, rejected = (normalise(answer.text) for answer in preferred.answers)
    return float(Levenshtein.normalized_similarity(chosen, rejected, score_cutoff=at))


def _bad(material: Material, bad: list[Preference]) -> AuditFinding:
    examples = some(p.shown() for p in bad)
    return AuditFinding(
        len(bad), len(material.preferences), "preferences", reached(len(bad)), examples
    )
