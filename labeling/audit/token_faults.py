"""EOS and BOS that are missing or doubled, by token ids.

A model that is taught answers without their EOS never ends; one that is taught two ends answers
before they begin. A prompt with two BOS is a beginning that the model never saw.
"""

from collections.abc import Sequence
from itertools import pairwise

from dpo_core.records import Prompt
from labeling.audit.findings import Finding, reached, some
from labeling.audit.material import Material
from labeling.audit.special_tokens import SpecialTokens

Ids = Sequence[int]


def token_faults(
    prompt: Prompt, prompt_ids: Ids, token_ids: Ids, finished: bool, special: SpecialTokens
) -> frozenset[str]:
    """Names of what is wrong with the tokens of an answer and its prompt.

    A finished answer ends with its one EOS; one that was cut has none.
    """
    faults = set()
    if special.eos:
        ends = [n for n, token in enumerate(token_ids) if token in special.eos]
        last = len(token_ids) - 1
        if finished and last not in ends:
            faults.add("eos_missing")
        if ends not in ([], [last]) or (ends and not finished):
            faults.add("eos_doubled")
    if special.bos is not None:
        faults |= _bos_faults(prompt, prompt_ids, token_ids, special, special.bos)
    return frozenset(faults)


def _bos_faults(
    prompt: Prompt, prompt_ids: Ids, token_ids: Ids, special: SpecialTokens, bos: int
) -> set[str]:
    chat = prompt.messages is not None
    count = sum(token == bos for token in prompt_ids)
    faults = set()
    if count == 0 and (special.chat_bos if chat else special.plain_bos):
        faults.add("bos_missing")
    if bos in special.eos:  # one token for both: between turns it may stand anywhere
        if list(prompt_ids[:2]) == [bos, bos]:
            faults.add("bos_doubled")
        return faults
    # Some templates begin every turn with it.
    turns = sum(message["role"] == "user" for message in prompt.messages or ())
    adjacent = any(left == right == bos for left, right in pairwise(prompt_ids))
    if count > max(1, turns) or adjacent or bos in token_ids[:1]:
        faults.add("bos_doubled")
    return faults


def fault(material: Material, name: str) -> Finding:
    """The preferences of which an answer has that fault."""
    bad = [p for p in material.preferences if any(name in answer.faults for answer in p.answers)]
    examples = some(p.shown() for p in bad)
    return Finding(len(bad), len(material.preferences), "preferences", reached(len(bad)), examples)
