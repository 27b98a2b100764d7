"""One arm with one seed: run it, or take its numbers from the file that an earlier run left."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.frontier.arms import GATE, Arm
from benchmarks.frontier.peer import play_peer
from benchmarks.measure import machine
from dpo_core.atomic import write_json
from dpo_core.campaign.facts import read_round_metrics
from dpo_core.campaign.layout import Layout
from dpo_core.errors import RatchetError
from flows.config import CampaignConfig, load_config
from flows.run import open_campaign, run_campaign
from flows.session import Session

RECIPE = Path(__file__).parents[2] / "configs/demo-cpu.yaml"
_INTERVALS = ("win_rate_base", "score_mean", "kl_base_nats", "length_mean", "truncated_share")
_KEPT = (
    *("round", "promoted", "decision", "pairs", "steps", "accuracy", "warnings"),
    *(f"{name}{end}" for name in _INTERVALS for end in ("", "_low", "_high")),
    *("kl_base_nats_se", "score_mean_base", "test_prompts", "measure_accepted"),
)


@dataclass(frozen=True)
class Result:
    """The rounds of one arm with one seed; `failed`: what it ended with instead."""

    arm: str
    seed: int
    rounds: Sequence[dict[str, Any]]
    failed: str | None
    facts: dict[str, Any]

    @property
    def last(self) -> dict[str, Any] | None:
        """The round that made the policy with which the arm ends; None: it is the base."""
        return next((row for row in reversed(self.rounds) if row["promoted"]), None)


def overrides_of(arm: Arm, seed: int, sets: Sequence[str] = ()) -> list[str]:
    """What an arm changes of the recipe; of two words on one key the later counts."""
    return [f"seed={seed}", "threads=1", *GATE, *arm.sets, *sets]


def run_arm(arm: Arm, seed: int, sets: Sequence[str], folder: Path, console: Console) -> Result:
    """The result of an arm, cached in `folder`. All arms of a seed share one campaign: what they
    have in common, such as the base policy, is made once, since its fingerprint is the same."""
    path = folder / "results" / f"{arm.name}-{seed}.json"
    overrides = overrides_of(arm, seed, sets)
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["facts"]["overrides"] == overrides:
            return Result(**found)
    started, failed = time.monotonic(), None
    rounds: list[dict[str, Any]] = []
    try:
        rounds = _played(arm, overrides, folder / f"seed-{seed}", console)
    except RatchetError as error:
        failed = error.message
    facts = {"overrides": overrides, "seconds": time.monotonic() - started, **machine()}
    kept = [{name: row.get(name) for name in _KEPT} for row in rounds]
    result = {"arm": arm.name, "seed": seed, "rounds": kept, "failed": failed, "facts": facts}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    return Result(arm.name, seed, kept, failed, facts)


def read_results(folder: Path) -> list[Result]:
    """Every result that lies in `folder`."""
    paths = sorted((folder / "results").glob("*.json"))
    return [Result(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def _played(
    arm: Arm, overrides: Sequence[str], root: Path, console: Console
) -> list[dict[str, Any]]:
    config = load_config(RECIPE, overrides)
    if arm.peer:
        return [_peer(config, root, console)]
    run_campaign(config, root, console, with_prefect=False)
    rows = (read_round_metrics(Layout(root), number) for number in range(1, config.rounds + 1))
    return [row.given() for row in rows if row is not None]


def _peer(config: CampaignConfig, root: Path, console: Console) -> dict[str, Any]:
    with (
        open_campaign(config, root, console) as (config, progress, uploads),
        Session.open(root, config, progress, uploads) as session,
    ):
        return play_peer(session)
