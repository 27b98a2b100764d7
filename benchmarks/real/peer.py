"""The arm of TRL's trainer: from the base of a seed's campaign, for so many times its CPU time."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import child_result
from benchmarks.real.after import Asked, ask
from benchmarks.real.arms import PARTS
from benchmarks.real.campaign import Campaign
from benchmarks.real.kept import Took
from benchmarks.real.questions import Questions
from benchmarks.real.results import BASE, Answered, Answers, Result
from dpo_core.atomic import make_folder, write_text
from dpo_core.children import child_environment
from dpo_core.hashing import content_id, policy_id
from dpo_core.records import prompt_from_row
from dpo_core.tables import iterate_rows
from examples.instructions import judge
from generation.prompts import read_pool


def play_peer(
    campaign: Campaign,
    cpu_seconds: float,
    folder: Path,
    facts: dict[str, Any],
    seed: int,
    until: int = PARTS,
) -> tuple[Result, Asked]:
    """The curve as rounds of a result, and the last policy beside the base.

    cpu_seconds: of all parts together. until: the part after which it stops. A run that was stopped
    goes on from the last part that it finished.
    """
    config, training = campaign.config, campaign.config.training
    job = {
        "seed": seed,
        "parts": PARTS,
        "pairs_per_step": training.pairs_per_step,
        "learning_rate": training.learning_rate,
        "warmup_steps": training.warmup_steps or 0,
        "beta": training.beta,
        "max_tokens": config.sampling.max_tokens,
        "max_model_len": config.sampling.max_model_len,
    }
    base = campaign.policy(BASE)
    made = folder / f"trl-{content_id('trl', job, policy_id(base))[:8]}"
    prompts = made / "prompts.jsonl"
    make_folder(made)
    if not prompts.exists():
        lines = (
            json.dumps({"messages": list(p.messages or ()), "row": dict(p.extra)})
            for p in read_pool(config.prompts)
            if p.split == "train"
        )
        write_text(prompts, "".join(f"{line}\n" for line in lines))
    places = {"policy": str(base), "prompts": str(prompts), "out": str(made)}
    asked = {**job, **places, "cpu_seconds": cpu_seconds, "until": until}
    threads = config.threads if isinstance(config.threads, int) else 1
    words = ["benchmarks.real.trl_side", json.dumps(asked)]
    parts = child_result(words, child_environment(threads))["parts"]
    return _curve(campaign, made, parts, facts, seed)


def _curve(
    campaign: Campaign,
    made: Path,
    parts: Sequence[dict[str, Any]],
    facts: dict[str, Any],
    seed: int,
) -> tuple[Result, Asked]:
    """Each policy's answers to the test prompts, as `ratchet evaluate` has them."""
    questions = _test_questions(campaign)
    policies = {BASE: campaign.policy(BASE)}
    answers: dict[int, Answers] = {}
    groups: Sequence[str] = ()
    rounds = []
    took = Took(sum(part["wall_s"] for part in parts), sum(part["cpu_s"] for part in parts))
    for part in parts:
        number = part["part"]
        policies[number] = made / f"{number}"
        asked = Asked(campaign.config, number, {n: policies[n] for n in (BASE, number)})
        found, again, folder = ask(asked, questions, made.parent)
        took = Took(took.wall_s + again.wall_s, took.cpu_s + again.cpu_s)
        answers |= found.policies
        groups = found.groups
        rounds.append(_row(part, folder))
    result = Result(
        "trl",
        seed,
        rounds,
        {number: policy_id(policy) for number, policy in policies.items()},
        Answered(groups, answers),
        took={"campaign": took},
        facts=facts,
    )
    return result, asked


def _row(part: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A part of the time as a round; nothing is refused."""
    told = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    kl = told["kl"].get("nats") or {"estimate": None, "low": None, "high": None}
    return {
        "round": part["part"],
        "promoted": True,
        "pairs": part["pairs"],
        "steps": part["steps"],
        "seconds_round": part["wall_s"],
        "kl_base_nats": kl["estimate"],
        "kl_base_nats_low": kl["low"],
        "kl_base_nats_high": kl["high"],
    }


def _test_questions(campaign: Campaign) -> Questions:
    """The campaign's own test prompts."""
    path = campaign.step(BASE, "held_out").path("prompts.parquet")
    prompts = [p for p in map(prompt_from_row, iterate_rows(path)) if p.split == "test"]
    rows = [{"messages": list(p.messages or ()), **p.extra} for p in prompts]
    most = campaign.config.sampling.max_tokens
    return Questions("trained", rows, f"{judge.__name__}:followed", judge.followed, most)
