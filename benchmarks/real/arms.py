"""Other ways than the recipe: one offline round, TRL's trainer, other rules for cut answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from benchmarks.real.campaign import RECIPE

TIMES, PARTS = 3, 6
"""TRL's trainer: so often the campaign's CPU time, and so many looks at its policy, evenly over it.
"""


@dataclass(frozen=True)
class Arm:
    """offline: as many prompts as in all of the recipe's rounds, answered by the base alone. peer:
    TRL's trainer, from the base of the recipe's campaign, which is run first. truncated: what
    becomes of cut answers; its one round has the prompts and answers of the recipe's first."""

    name: str
    title: str
    offline: bool = False
    peer: bool = False
    truncated: str | None = None

    @property
    def sets(self) -> list[str]:
        """What it changes of the recipe."""
        if self.truncated is not None:
            return ["rounds=1", f"pairs.truncated={self.truncated}"]
        if not self.offline:
            return []
        recipe = recipe_text()
        prompts = recipe["rounds"] * recipe["prompts"]["per_round"]
        return ["rounds=1", f"prompts.per_round={prompts}"]


def recipe_text() -> dict[str, Any]:
    """The recipe as it is written; its model's file need not be there."""
    found: dict[str, Any] = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    return found


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("rounds", "the recipe, three rounds"),
        Arm("again", "the recipe once more, on another processor"),
        Arm("offline", "as many labels in one offline round", offline=True),
        Arm("trl", "TRL's OnlineDPOTrainer", peer=True),
        Arm("drop", "pairs with a cut answer are dropped", truncated="drop"),
        Arm("avoid", "cut answers are avoided", truncated="avoid"),
    )
}
