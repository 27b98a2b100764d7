"""The arms: each is the demo's recipe with a few keys set, or TRL's trainer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RULE = "examples.reviews.judge:score"
_CHECKS = (
    "decided_share",
    "kl_budget",
    "length",
    "length_base",
    "truncated_rise",
    "empty_share",
    "repetition_rise",
    "relevance_fall",
)
GATE = ("gate.false_promotions=null", "gate.use=estimate", *(f"gate.{key}=null" for key in _CHECKS))
"""Of every arm that sets no other: a win rate above one half promotes, whatever else there is."""

ROUNDS, PROMPTS, SAMPLES = 3, 512, 4
"""What configs/demo-cpu.yaml spends: 1,536 pairs are labelled, out of 6,144 answers."""


@dataclass(frozen=True)
class Arm:
    """One way to train; `sets` are overrides of the recipe. TRL's trainer (`peer`) has the recipe's
    numbers and no rounds.
    """

    name: str
    title: str
    sets: tuple[str, ...] = ()
    peer: bool = False
    labels: int = ROUNDS * PROMPTS


@dataclass(frozen=True)
class Question:
    """Arms that are compared with the one `against`; `simple` names the one with fewest parts."""

    title: str
    against: str
    arms: tuple[str, ...]
    simple: str


def _voters(*functions: str) -> str:
    """A judge whose pairs the rule chooses and on which only these vote.

    The rule's verdict is there too, since best_worst needs scores, but weighs a billionth.
    """
    chooser = f"{{kind: rule, function: '{RULE}', weight: 1.0e-9}}"
    voters = (
        f"{{kind: rule, gives: verdict, function: 'benchmarks.frontier.judge:{name}'}}"
        for name in functions
    )
    return f"judge={{kind: committee, members: [{', '.join([chooser, *voters])}]}}"


def _noisy(*functions: str, targets: str) -> tuple[str, ...]:
    clean = f"evaluation_judge={{kind: rule, function: '{RULE}'}}"
    return (_voters(*functions), clean, f"aggregation.targets={targets}")


_THREE = ("wrong_30_first", "wrong_30_second", "wrong_30_third")
_ALL: Sequence[Arm] = (
    Arm("reset", "reference reset"),
    Arm("offline", "one offline round", ("rounds=1", f"prompts.per_round={ROUNDS * PROMPTS}")),
    Arm("fixed", "reference fixed to the base", ("training.reference=base",)),
    Arm("ema", "reference EMA, rate 0.5", ("training.reference={ema: 0.5}",)),
    Arm("trl", "TRL's OnlineDPOTrainer", peer=True, labels=2 * ROUNDS * PROMPTS),
    Arm("soft", "no noise, soft", ("aggregation.targets=soft",)),
    Arm("noise10", "10 % noise, hard", _noisy("wrong_10", targets="hard")),
    Arm("noise10-soft", "10 % noise, soft", _noisy("wrong_10", targets="soft")),
    Arm("noise30", "30 % noise, hard", _noisy("wrong_30", targets="hard")),
    Arm("noise30-soft", "30 % noise, soft", _noisy("wrong_30", targets="soft")),
    Arm("ungated", "no gate", ("gate.threshold=0",)),
    Arm(
        "noise30-ungated",
        "30 % noise, no gate",
        (*_noisy("wrong_30", targets="hard"), "gate.threshold=0"),
    ),
    Arm("strict", "gate on the lower bound", ("gate.use=lower",)),
    Arm(
        "noise30-strict",
        "30 % noise, gate on the lower bound",
        (*_noisy("wrong_30", targets="hard"), "gate.use=lower"),
    ),
    Arm(
        "votes30",
        "30 % noise, three votes, majority",
        _noisy(*_THREE, targets="hard"),
        labels=3 * ROUNDS * PROMPTS,
    ),
    Arm(
        "votes30-soft",
        "30 % noise, three votes, soft",
        _noisy(*_THREE, targets="soft"),
        labels=3 * ROUNDS * PROMPTS,
    ),
)
ARMS: Mapping[str, Arm] = {arm.name: arm for arm in _ALL}
"""In the order in which they are run: what is asked for first, what goes beyond it last."""

QUESTIONS: Sequence[Question] = (
    Question("The reference", "reset", ("fixed", "ema"), "reset"),
    Question("One offline round instead of three", "reset", ("offline",), "offline"),
    Question("TRL's online loop instead of rounds", "reset", ("trl",), "trl"),
    Question("Soft targets, no label wrong", "reset", ("soft",), "reset"),
    Question("Soft targets, 10 % of the labels wrong", "noise10", ("noise10-soft",), "noise10"),
    Question("Soft targets, 30 % wrong", "noise30", ("noise30-soft",), "noise30"),
    Question(
        "Soft targets, 30 % wrong, three labels a pair", "votes30", ("votes30-soft",), "votes30"
    ),
    Question("The gate", "ungated", ("reset", "strict"), "ungated"),
    Question(
        "The gate, 30 % wrong", "noise30-ungated", ("noise30", "noise30-strict"), "noise30-ungated"
    ),
)
"""What the page says is said in these comparisons."""
