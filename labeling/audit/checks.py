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
    """`what` is found, when it `stops` the round, and what to do then."""

    find: Callable[[Material, AuditConfig], AuditFinding]
    what: str
    stops: str
    remedy: str


_REACHED = "one reached the preferences"
_SAMPLED = "The policy's tokenizer and generation config disagree with what was sampled or imported"

_AT_THE_SOURCE = (
    "in generation_config.json of the folder that policy.model names, or in what policy.build "
    "writes; the base is then made anew, and what follows from it"
)


def _of_tokens(name: FindingName, material: Material, config: AuditConfig) -> AuditFinding:
    return find_fault(material, name)


CHECKS: Mapping[FindingName, AuditCheck] = {
    "dropped": AuditCheck(
        find_dropped,
        "judged pairs that became no preference, whatever the reason (pairs left to people and "
        "not labelled do not count as judged)",
        "above `max_dropped_share`",
        "Look at the reasons: mend the judge, retract a source that abstains, or ask more people.",
    ),
    "truncated": AuditCheck(
        find_truncated,
        "answers cut at the length limit: pairs dropped for them, and preferences",
        f"{_REACHED} unless `pairs.truncated: keep` (with `reject`: as the chosen answer); above "
        "`max_truncated_share`",
        "Raise sampling.max_tokens, or set pairs.truncated to avoid or reject.",
    ),
    "ties": AuditCheck(
        find_ties,
        "pairs without a better answer: dropped ones, and preferences",
        f"{_REACHED}; above `max_ties_share`",
        "Give a judge that tells answers apart, or raise pairs.min_margin.",
    ),
    "identical_texts": AuditCheck(
        find_identical_texts,
        "preferences whose two answers are the same text",
        _REACHED,
        "Remove these pairs where they come from.",
    ),
    "near_duplicates": AuditCheck(
        find_near_duplicates,
        "preferences whose two answers are `near_duplicate_at` alike, case and spacing apart",
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
        partial(_of_tokens, "eos_missing"),
        "preferences with a finished answer that does not end with EOS",
        _REACHED,
        f"{_SAMPLED}: set eos_token_id {_AT_THE_SOURCE}.",
    ),
    "eos_doubled": AuditCheck(
        partial(_of_tokens, "eos_doubled"),
        "preferences with an EOS other than the one that ends a finished answer",
        _REACHED,
        f"{_SAMPLED}: end imported answers with one EOS; let eos_token in tokenizer_config.json "
        f"name what ends answers, and nothing else, and so eos_token_id {_AT_THE_SOURCE}.",
    ),
    "bos_missing": AuditCheck(
        partial(_of_tokens, "bos_missing"),
        "preferences whose prompt has fewer BOS than the tokenizer (in a chat: the template) adds",
        _REACHED,
        "Tokenizer and chat template are not those that these prompts were encoded with: restore "
        "the policy's files.",
    ),
    "bos_doubled": AuditCheck(
        partial(_of_tokens, "bos_doubled"),
        "preferences whose prompt has more BOS than the tokenizer (in a chat: the template) adds, "
        "or two side by side, or whose answer begins with one",
        _REACHED,
        "Remove the BOS that the prompts spell out, in their text or their messages; where none "
        "does, the chat template writes two in a row: remove one there.",
    ),
    "contaminated": AuditCheck(
        find_contaminated,
        "preferences whose prompt is a held-out one, case and spacing apart",
        _REACHED,
        "Remove these prompts from what is trained on.",
    ),
    "held_out_overlap": AuditCheck(
        find_held_out_overlap,
        "preferences whose prompt shares `overlap_words` words in a row with one held-out prompt",
        "above `max_overlap_share`",
        "Remove prompts that are variants of held-out ones.",
    ),
    "length_skew": AuditCheck(
        find_length_skew,
        "preferences that choose the longer answer (or the shorter, if these are more), of those "
        "of unequal length; and the ratio of mean tokens",
        "from `fewest` preferences on: a ratio beyond `max_length_ratio`",
        "Look at whether the judge judges length; pairs.strategy length_aware with "
        "pairs.margin_per_token works against it.",
    ),
    "same_side": AuditCheck(
        find_same_side,
        "verdicts of the most one-sided source that name the same side or position",
        "from `fewest` verdicts on: above `max_same_side_share`",
        "That source does not read the answers: mend it, or take its verdicts back with "
        "`ratchet labels retract`.",
    ),
}


def audit(material: Material, config: AuditConfig) -> dict[FindingName, AuditFinding]:
    """Every finding by its name; those that the config allows do not block."""
    found = {name: check.find(material, config) for name, check in CHECKS.items()}
    return {
        name: replace(finding, because="") if name in config.allow else finding
        for name, finding in found.items()
    }
