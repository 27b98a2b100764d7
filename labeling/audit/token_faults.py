"""EOS and BOS that are missing or doubled, by token ids.

A model that is taught answers without their EOS never ends; one that is taught two ends answers
before they begin. A prompt with two BOS is a beginning that the model never saw
(dpo_core.bos).
"""

from collections.abc import Sequence

from dpo_core.bos import find_bos_faults
from dpo_core.records import Prompt
from dpo_core.special_tokens import SpecialTokens
from labeling.audit.findings import AuditFinding, reached, some
from labeling.audit.material import Material

Ids = Sequence[int]


def token_faults(
    prompt: Prompt, prompt_ids: Ids, token_ids: Ids, finished: bool, special: SpecialTokens
) -> frozenset[str]:
    """Names of what is wrong with the tokens of an answer and its prompt.

    A finished answer ends with its one EOS; one that was cut has none.
    """
    faults = set[str]()
    if special.eos:
        ends = [n for n, token in enumerate(token_ids) if token in special.eos]
        last = len(token_ids) - 1
        if finished and last not in ends:
            faults.add("eos_missing")
        if ends not in ([], [last]) or (ends and not finished):
            faults.add("eos_doubled")
    faults |= find_bos_faults(prompt, prompt_ids, special)
    if special.bos not in special.eos and special.bos in token_ids[:1]:
        faults.add("bos_doubled")
    return frozenset(faults)


def fault(material: Material, name: str) -> AuditFinding:
    """The preferences of which an answer has that fault."""
    bad = [p for p in material.preferences if any(name in answer.faults for answer in p.answers)]
    examples = some(p.shown() for p in bad)
    return AuditFinding(
        len(bad), len(material.preferences), "preferences", reached(len(bad)), examples
    )
