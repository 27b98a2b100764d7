"""Ways to spend the labels: the recipe's rounds, all of them in one round, or
TRL's trainer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from benchmarks.real.campaign import RECIPE


@dataclass(frozen=True)
class Arm:
    """offline: as many prompts as in all of the recipe's rounds, answered by the base alone. peer:
    TRL's trainer, from the base of the recipe's campaign, which is run first."""

    name: str
    title: str
    offline: bool = False
    peer: bool = False

    @property
    def sets(self) -> list[str]:
        """What it changes of the recipe."""
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
        Arm("offline", "as many labels in one offline round", offline=True),
        Arm("trl", "TRL's OnlineDPOTrainer, three times the time", peer=True),
    )
}
