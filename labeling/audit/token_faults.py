"""Missing and doubled EOS and BOS, by token ids.

A model trained on answers without EOS never stops; one trained on doubled EOS may stop at once. A
prompt with two BOS is out of distribution for the model (dpo_core.bos).
"""

from collections.abc import Sequence

from dpo_core.bos import find_bos_faults
from dpo_core.records import Prompt
from dpo_core.special_tokens import SpecialTokens
from labeling.audit.findings import AuditFinding, first_examples, reached_message
from labeling.audit.material import Material

Ids = Sequence[int]


def token_faults(
    prompt: Prompt, prompt_ids: Ids, token_ids: Ids, finished: bool, special: SpecialTokens
) -> frozenset[str]:
    """Names of the faults in the tokens of an answer and its prompt.

    A finished answer ends with its only EOS; a truncated one has none.
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


def find_fault(material: Material, name: str) -> AuditFinding:
    """The preferences with an answer that has the fault `name`."""
    bad = [p for p in material.preferences if any(name in answer.faults for answer in p.answers)]
    examples = first_examples(p.describe() for p in bad)
    return AuditFinding(
        len(bad), len(material.preferences), "preferences", reached_message(len(bad)), examples
    )
