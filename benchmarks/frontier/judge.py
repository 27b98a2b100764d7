"""The rule with errors: verdicts turned round for a share of the pairs, the same ones every time.

Which pairs, is decided by the hash of the voter's name and the pair's id. The id is a hash of the
answers and of the policy that gave them, so that campaigns with other seeds err on other pairs.
"""

from collections.abc import Sequence

from dpo_core.hashing import derive_seed
from dpo_core.records import Completion, Pair, Prompt, Verdict
from examples.reviews.judge import score

_OTHER: dict[Verdict, Verdict] = {"a": "b", "b": "a", "tie": "tie"}


def wrong_10(pairs: Sequence[Pair]) -> list[Verdict]:
    return _votes("wrong_10", 0.1, pairs)


def wrong_30(pairs: Sequence[Pair]) -> list[Verdict]:
    return _votes("wrong_30", 0.3, pairs)


def wrong_30_first(pairs: Sequence[Pair]) -> list[Verdict]:
    return _votes("first", 0.3, pairs)


def wrong_30_second(pairs: Sequence[Pair]) -> list[Verdict]:
    return _votes("second", 0.3, pairs)


def wrong_30_third(pairs: Sequence[Pair]) -> list[Verdict]:
    return _votes("third", 0.3, pairs)


def rewards(completions: Sequence[str], prompts: Sequence[str], **_: object) -> list[float]:
    """The rule as a reward function of TRL's, which knows no reason why an answer ended.

    An answer that was cut is no sentence of the grammar either, unless it was cut at its end.
    """
    answers = [
        Completion("", Prompt("", text=prompt), text, "stop", 0)
        for prompt, text in zip(prompts, completions, strict=True)
    ]
    return [found.value or 0.0 for found in score(answers)]


def _votes(voter: str, share: float, pairs: Sequence[Pair]) -> list[Verdict]:
    scores_a, scores_b = score([p.a for p in pairs]), score([p.b for p in pairs])
    found = []
    for pair, a, b in zip(pairs, scores_a, scores_b, strict=True):
        assert a.value is not None and b.value is not None, "this rule never abstains"
        right: Verdict = "tie" if a.value == b.value else ("a" if a.value > b.value else "b")
        wrong = derive_seed("wrong", voter, pair.pair_id) % 10_000 < share * 10_000
        found.append(_OTHER[right] if wrong else right)
    return found
