"""Losses with the options that act on them: which combinations have a meaning; arrays of them."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from dpo_core.loss_options import LossName

from .families import FAMILIES

REFERENCES: dict[str, dict[str, Any]] = {
    "reset": {},
    "base": {"reference": "base"},
    "every": {"reference": {"every": 2}},
    "ema": {"reference": {"ema": 0.5}},
    "none": {"reference": "none"},
    "from_sampling": {"reference_logps": "from_sampling"},
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "exo_pair": {"label_smoothing": 0.1},
    "robust": {"label_smoothing": 0.1},
    "simpo": {"beta": 2.0},
    "ipo": {"beta": 0.5},
}


@dataclass(frozen=True)
class Case:
    loss: str
    family: str
    wpo: bool
    ld_alpha: float | None
    nll_weight: float
    soft: bool
    reference: str

    def options(self) -> dict[str, Any]:
        """Keys and values of TrainingConfig."""
        return {
            "loss": self.loss,
            "wpo": self.wpo,
            "ld_alpha": self.ld_alpha,
            "nll_weight": self.nll_weight,
            **REFERENCES[self.reference],
            **_OPTIONS.get(self.loss, {}),
        }


LEVELS: dict[str, tuple[Any, ...]] = {
    "loss": get_args(LossName),
    "family": tuple(FAMILIES),
    "wpo": (False, True),
    "ld_alpha": (None, 0.3),
    "nll_weight": (0.0, 0.2),
    "soft": (False, True),
    "reference": tuple(REFERENCES),
}
assert tuple(LEVELS) == tuple(field.name for field in fields(Case))

_ALONE = {"sft", "simpo", "orpo"}


def refusals(case: Case) -> set[str]:
    """Words of which a refusal must name one; none: the case has a meaning.

    Written without a look at what the code knows of losses: by what each loss's formula takes.
    """
    compares = case.loss not in _ALONE
    found = set()
    if compares == (case.reference == "none") and (compares or case.reference != "reset"):
        found.add("training.reference")
    if case.soft and case.loss not in ("sigmoid", "sigmoid_norm"):
        found.add("p_chosen")
    if case.wpo and case.loss in ("aot", "aot_unpaired"):
        found.add("training.wpo")
    if case.ld_alpha is not None:
        if case.loss in ("sft", "simpo", "orpo", "ipo", "sigmoid_norm"):
            found.add("training.ld_alpha")
        if case.reference == "from_sampling":
            found.add("training.ld_alpha")
    return found


def everything(family: str = "mistral") -> Iterator[Case]:
    """All combinations for one family of models."""
    levels = LEVELS | {"family": (family,)}
    for values in itertools.product(*levels.values()):
        yield Case(**dict(zip(levels, values, strict=True)))


def pairwise(tries: int = 30) -> list[Case]:
    """Cases in which every two values of two options meet, in one that has a meaning if any has."""
    chosen, cases = random.Random(0), list[Case]()
    missing = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(LEVELS, 2)
        for x, y in itertools.product(LEVELS[a], LEVELS[b])
    }
    while missing:
        first = min(missing, key=repr)
        drawn = [_drawn(chosen, dict(first)) for _ in range(tries)]
        best = max(drawn, key=lambda case: (not refusals(case), len(_met(case) & missing)))
        cases.append(best)
        missing -= _met(best) if not refusals(best) else {first}
    return cases


def _drawn(chosen: random.Random, fixed: dict[str, Any]) -> Case:
    """With these values and random others; options that `fixed` leaves open do not spoil it, where
    leaving them out is enough."""
    case = Case(**{name: chosen.choice(values) for name, values in LEVELS.items()} | fixed)
    plain = {"wpo": False, "ld_alpha": None, "soft": False, "loss": "sigmoid", "reference": "reset"}
    for name, value in plain.items():
        if refusals(case) and name not in fixed:
            case = replace(case, **{name: value})
    return case


def _met(case: Case) -> set[Any]:
    return set(itertools.combinations([(name, getattr(case, name)) for name in LEVELS], 2))
