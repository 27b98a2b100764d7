"""Two campaigns that part after round 1, with believable numbers, or with names that mean harm."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from demo_summary import HOSTILE, demo

from dpo_core.campaign.branching import Origin
from reporting.compare.sides import CampaignComparison, Side, clip, compare_sides

PROMPTS = [f"prompt-{number:03d}" for number in range(100)]


def outcomes(wins: int) -> Mapping[tuple[str, int], float]:
    """The first `wins` of the prompts are won, the others lost."""
    return {(prompt, 0): float(place < wins) for place, prompt in enumerate(PROMPTS)}


def parent(**changes: Any) -> Side:
    made = Side(
        label="demo-cpu",
        summary=demo(),
        settings={"training.beta": "0.05", "seed": "0"},
        base="base",
        incumbent=3,
        test_prompts=frozenset(PROMPTS),
        outcomes=outcomes(70),
        answer_settings={"evaluation_judge": "length"},
    )
    return replace(made, **changes)


def branch(**changes: Any) -> Side:
    """It left the other one after round 1 and had one round of its own, a better one."""
    first, second, _ = demo().rounds
    better = {"policy": "f" * 64, "win_rate_base": 0.8, "kl_base_nats": 0.52}
    own = second.model_copy(update=better)
    made = parent(
        label="demo-cpu-from-1",
        summary=replace(demo(), name="demo-cpu-from-1", rounds=(first, own), rounds_planned=2),
        settings={"training.beta": "0.1", "seed": "0"},
        incumbent=2,
        origin=Origin("/demo", "demo-cpu", 1, ("training.beta: 0.05 → 0.1",), "ada", "2026", ()),
        outcomes=outcomes(80),
    )
    return replace(made, **changes)


def hostile() -> CampaignComparison:
    """Every text is one that means harm."""
    one, other = (clip(text) for text in HOSTILE[:2])
    settings = {clip(text): text for text in HOSTILE}
    summary = replace(demo(), name=HOSTILE[0], directory=HOSTILE[3])
    origin = Origin(HOSTILE[2], HOSTILE[1], 1, HOSTILE, HOSTILE[3], HOSTILE[2], ())
    return compare_sides(
        [
            parent(label=one, summary=summary, settings=settings),
            branch(label=other, settings={"seed": "1"}, origin=origin, base="another"),
        ]
    )
