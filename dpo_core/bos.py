"""Missing and duplicate BOS tokens in prompts: the rule that audit and doctor share.

The chat template decides how many BOS a chat has: one, one per turn (Llama 2, and ChatML where BOS
opens every turn), or none. The rule renders the template with the prompt's own messages, any BOS in
their text removed. More BOS than that are duplicates.
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
    """Which of `bos_missing` and `bos_doubled` apply to a prompt with these token ids."""
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
    """(fewest, most) BOS allowed in a prompt; None for no limit."""
    if prompt.messages is not None:
        count = special.chat_bos(prompt.messages)
        return count, count
    least = int(special.plain_bos)
    # A plain text that is a rendered chat already has what the template would write.
    if special.bos in special.eos or (special.chat_bos(_TWO_TURNS) or 0) > 1:
        return least, None
    return least, 1


def _twice_in_a_row(prompt_ids: Sequence[int], special: SpecialTokens) -> bool:
    """Whether two BOS are adjacent. Where EOS is the same token, one may end a turn and the next
    begin one, so only the beginning counts."""
    checked = prompt_ids[:2] if special.bos in special.eos else prompt_ids
    return any(left == right == special.bos for left, right in pairwise(checked))
