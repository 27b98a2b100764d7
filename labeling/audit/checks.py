"""The audit: every check by the name of its finding."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from labeling.audit.bias import (
    find_contaminated,
    find_held_out_overlap,
    find_length_skew,
    find_same_side,
)
from labeling.audit.config import AuditConfig, FindingName
from labeling.audit.findings import AuditFinding
from labeling.audit.material import Material
from labeling.audit.token_faults import find_fault
from labeling.audit.weak_pairs import (
    find_dropped,
    find_empty_answers,
    find_identical_texts,
    find_near_duplicates,
    find_ties,
    find_truncated,
)


@dataclass(frozen=True)
class AuditCheck:
    """`what` the check finds, when it `stops` the round, and what to do then."""

    find: Callable[[Material, AuditConfig], AuditFinding]
    what: str
    stops: str
    remedy: str


_REACHED = "any preference is affected"
_SAMPLED = "The policy's tokenizer and generation config disagree with the sampled or imported ids"

_AT_THE_SOURCE = (
    "in generation_config.json of the folder that policy.model names, or in what policy.build "
    "writes; the base policy and everything made from it is then made again"
)


def _find_token_fault(name: FindingName, material: Material, config: AuditConfig) -> AuditFinding:
    return find_fault(material, name)


CHECKS: Mapping[FindingName, AuditCheck] = {
    "dropped": AuditCheck(
        find_dropped,
        "judged pairs without preference, for any reason (unlabelled pairs left to people do not "
        "count as judged)",
        "above `max_dropped_share`",
        "Check the reasons: fix the judge, retract a source that abstains, or ask more people.",
    ),
    "truncated": AuditCheck(
        find_truncated,
        "answers cut at the length limit: pairs dropped for them, and preferences with them",
        f"{_REACHED} unless `pairs.truncated: keep` (with `reject`: as the chosen answer); above "
        "`max_truncated_share`",
        "Raise sampling.max_tokens, or set pairs.truncated to avoid or reject.",
    ),
    "ties": AuditCheck(
        find_ties,
        "pairs without a better answer: dropped, or among the preferences",
        f"{_REACHED}; above `max_ties_share`",
        "Use a judge that distinguishes the answers, or raise pairs.min_margin.",
    ),
    "identical_texts": AuditCheck(
        find_identical_texts,
        "preferences whose two answers are the same text",
        _REACHED,
        "Remove these pairs where they come from.",
    ),
    "near_duplicates": AuditCheck(
        find_near_duplicates,
        "preferences whose two answers have at least the similarity `near_duplicate_at`, ignoring "
        "case and spacing",
        "above `max_near_duplicates_share`",
        "Raise sampling.temperature, sampling.samples_per_prompt or pairs.min_margin.",
    ),
    "empty_answers": AuditCheck(
        find_empty_answers,
        "preferences with an answer that is empty, white space or only EOS",
        _REACHED,
        "Remove these pairs where they come from.",
    ),
    "eos_missing": AuditCheck(
        partial(_find_token_fault, "eos_missing"),
        "preferences with a finished answer that does not end with EOS",
        _REACHED,
        f"{_SAMPLED}: set eos_token_id {_AT_THE_SOURCE}.",
    ),
    "eos_doubled": AuditCheck(
        partial(_find_token_fault, "eos_doubled"),
        "preferences with an EOS other than the one that ends a finished answer",
        _REACHED,
        f"{_SAMPLED}: end imported answers with one EOS, and let eos_token in "
        "tokenizer_config.json name only the token that ends answers, and likewise eos_token_id "
        f"{_AT_THE_SOURCE}.",
    ),
    "bos_missing": AuditCheck(
        partial(_find_token_fault, "bos_missing"),
        "preferences whose prompt has fewer BOS than the tokenizer (in a chat: the template) adds",
        _REACHED,
        "These prompts were encoded with another tokenizer or chat template: restore the policy's "
        "files.",
    ),
    "bos_doubled": AuditCheck(
        partial(_find_token_fault, "bos_doubled"),
        "preferences whose prompt has more BOS than the tokenizer (in a chat: the template) adds, "
        "or two in a row, or whose answer begins with one",
        _REACHED,
        "Remove any BOS written in the prompts' text or messages; if there is none, the chat "
        "template writes two in a row: remove one there.",
    ),
    "contaminated": AuditCheck(
        find_contaminated,
        "preferences whose prompt is a held-out one, ignoring case and spacing",
        _REACHED,
        "Remove these prompts from the training prompts.",
    ),
    "held_out_overlap": AuditCheck(
        find_held_out_overlap,
        "preferences whose prompt shares `overlap_words` words in a row with one held-out prompt",
        "above `max_overlap_share`",
        "Remove prompts that are variants of held-out ones.",
    ),
    "length_skew": AuditCheck(
        find_length_skew,
        "preferences of unequal length that choose the longer answer (or the shorter, if that is "
        "more frequent), and the ratio of mean tokens",
        "from `fewest` preferences on: a ratio beyond `max_length_ratio`",
        "Check whether the judge rewards length; pairs.strategy length_aware with "
        "pairs.margin_per_token counteracts it.",
    ),
    "same_side": AuditCheck(
        find_same_side,
        "verdicts of the most one-sided source that name the same side or position",
        "from `fewest` verdicts on: above `max_same_side_share`",
        "That source may not read the answers: fix it, or retract its verdicts with "
        "`ratchet labels retract`.",
    ),
}


def audit(material: Material, config: AuditConfig) -> dict[FindingName, AuditFinding]:
    """Run every check; returns name → finding. Findings in `config.allow` do not block."""
    findings = {name: check.find(material, config) for name, check in CHECKS.items()}
    return {
        name: replace(finding, because="") if name in config.allow else finding
        for name, finding in findings.items()
    }
