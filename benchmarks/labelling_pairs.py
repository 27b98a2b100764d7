"""Twenty fixed pairs for the labelling page: ten short ones, ten long ones with tables and code."""

from dpo_core.records import Completion, Pair, Prompt, pair_id

PAIRS = 20
_SENTENCES = (
    "The first thing to settle is how much time there is, since that decides the rest.",
    "A smaller pan keeps the heat, and the onions brown instead of steaming.",
    "Most people start from the front, which is slower than it looks.",
    "Water the roots in the evening and leave the leaves dry.",
    "If the train is late, the ticket stays valid on the next one.",
    "Nobody will notice the difference after a week.",
)
_TABLE = """| plan | price per month | storage | support |
|---|---:|---:|---|
| small | 4 EUR | 20 GB | by mail, within two days |
| middle | 9 EUR | 100 GB | by mail, within a day |
| large | 24 EUR | 1,000 GB | by telephone, at any hour |"""
_CODE = """```python
def merged(left: list[int], right: list[int]) -> list[int]:
    \"\"\"Two sorted lists as one: each step takes the smaller of the two heads.\"\"\"
    result: list[int] = []
    while left and right:
        result.append((left if left[0] <= right[0] else right).pop(0))
    return result + left + right
```"""


def fixed_pairs(*, continuation: bool = False) -> list[Pair]:
    """The pairs, of chat prompts or of plain texts that the answers go on; short and long ones take
    turns."""
    return [_pair(number, continuation) for number in range(PAIRS)]


def _pair(number: int, continuation: bool) -> Pair:
    if continuation:
        prompt = Prompt(f"text-{number}", text=f"Notes, page {number + 1}. It was late, and")
    else:
        asked = {"role": "user", "content": f"Question {number + 1}: how would you go about it?"}
        prompt = Prompt(f"chat-{number}", messages=(asked,))
    names = [f"{prompt.prompt_id}-{index}" for index in (0, 1)]
    a, b = (Completion(n, prompt, _text(number, i), "stop", 9, i) for i, n in enumerate(names))
    return Pair(pair_id(*names), a, b)


def _text(number: int, index: int) -> str:
    turned = [_SENTENCES[(number + index + i) % len(_SENTENCES)] for i in range(len(_SENTENCES))]
    if number % 2 == 0:
        return " ".join(turned[: 1 + (number // 2 + index) % 3])
    paragraphs = [" ".join(turned)] * (4 + (number + index) % 3)
    inserted = (_TABLE, _CODE, "1. " + "\n2. ".join(turned[:4]))[number // 2 % 3]
    return "\n\n".join([*paragraphs[:2], inserted, *paragraphs[2:]])
