"""A BOS that a prompt lacks, or has once too often: the one rule of audit and doctor.

How many a chat has is its template's business: some write one, some one per turn (Llama 2, and
ChatML where BOS opens every turn), some none. So the template is asked, with the prompt's own
messages but for a BOS that they spell out; what the prompt has beyond that is one too many.
"""

from collections.abc import Sequence
from itertools import pairwise

from dpo_core.records import Prompt
from dpo_core.special_tokens import SpecialTokens

_TWO_TURNS = (
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
)


def find_bos_faults(prompt: Prompt, prompt_ids: Sequence[int], special: SpecialTokens) -> set[str]:
    """`bos_missing` and `bos_doubled`, as far as they hold for a prompt and its token ids."""
    if special.bos is None:
        return set()
    least, most = _allowed(prompt, special)
    count = sum(token == special.bos for token in prompt_ids)
    faults = set()
    if least is not None and count < least:
        faults.add("bos_missing")
    if (most is not None and count > most) or _twice_in_a_row(prompt_ids, special):
        faults.add("bos_doubled")
    return faults


def _allowed(prompt: Prompt, special: SpecialTokens) -> tuple[int | None, int | None]:
    """(fewest, most) BOS of a prompt; None where nothing says how many."""
    if prompt.messages is not None:
        written = special.chat_bos(prompt.messages)
        return written, written
    least = int(special.plain_bos)
    # Text that is a chat already has what the template would write.
    if special.bos in special.eos or (special.chat_bos(_TWO_TURNS) or 0) > 1:
        return least, None
    return least, 1


def _twice_in_a_row(prompt_ids: Sequence[int], special: SpecialTokens) -> bool:
    """Two BOS side by side; where EOS is the same token, one may end a turn, another begin one."""
    places = prompt_ids[:2] if special.bos in special.eos else prompt_ids
    return any(left == right == special.bos for left, right in pairwise(places))
