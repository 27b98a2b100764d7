"""A campaign of fifty rounds that has every column that rounds can have, and many samples."""

import math
from dataclasses import replace
from typing import Any

from demo_summary import HOSTILE, demo, metrics

from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.round_metrics import RoundMetrics
from flows.config.versions import ConfigInForce
from reporting.read.curves import Mean, TrainingCurve
from reporting.read.details import Details, data_flow
from reporting.read.samples import SampledAnswer, SampleRow, SourceVerdict
from reporting.summary import CampaignSummary, ShownSettings

ROUNDS = 50
PEOPLE_FROM = 20
"""The first round of which people judged some pairs."""


def _interval(name: str, value: float, half: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def _estimate(value: float, half: float) -> dict[str, float]:
    return {"estimate": value, "low": value - half, "high": value + half}


def row(n: int) -> dict[str, Any]:
    """Gains that level off, a refused round in seven, a length that creeps up."""
    level = 1 - math.exp(-n / 15)
    kept = n % 7 == 0
    previous = 0.47 if kept else 0.51 + 0.05 * math.exp(-n / 20)
    return {
        **metrics(n, 0.5 + 0.38 * level, previous, previous, 0.15 * n),
        **_interval("length_mean", 24.0 + 0.25 * n, 0.4),
        **_interval("score_mean", 0.02 + 1.3 * level, 0.04),
        "measure_accepted": 0.951 + 0.0008 * n,
        "accuracy": 0.62 + 0.2 * level,
        "margin": 1.2 + 0.8 * level,
        "loss": 0.66 - 0.1 * level,
        "entropy": 1.4 - 0.4 * level,
        "promoted": not kept,
        **_interval("lc_win_rate_base", 0.5 + 0.33 * level, 0.045),
        **_interval("lc_win_rate_previous", previous - 0.01, 0.045),
        **_interval("lc_win_rate_gate", previous - 0.01, 0.045),
        **_interval("kl_reference_nats", 0.17, 0.03),
        **_interval("rating", 2.2 * level, 0.2),
        "ratings": {str(k): _estimate(2.2 * (1 - math.exp(-k / 15)), 0.2) for k in range(n + 1)},
        "cycles": [[n - 1, n - 2, n - 3]] if n in (30, ROUNDS) else [],
        "forgotten": {
            "count": n // 3,
            "compared": 512,
            "examples": [{"prompt_id": f"prompt-{k}", "better_in": 3} for k in range(n // 3)],
        },
        "slices": {
            "language=de": {**_slice(0.41, n), "flagged": n > 40},
            "language=en": {**_slice(0.57, n), "flagged": False},
            HOSTILE[0]: {**_slice(0.5, n), "flagged": False},
        },
        "suites": {
            "arithmetic": {
                "prompts": 40,
                "score": 0.82,
                "low": 0.7,
                "high": 0.9,
                "before": 0.83,
                **_interval("change", -0.01, 0.03),
                "failed": n == ROUNDS,
            }
        },
        **_interval("training_score_mean", 0.02 + 1.6 * level, 0.04),
        "training_score_mean_base": 0.02,
        **_interval("training_win_rate_base", 0.5 + 0.45 * level, 0.03),
        **_interval("training_win_rate_previous", previous + 0.02, 0.03),
        **{
            name: value
            for stem, value, base in (
                ("repetition_share", 0.04 + 0.002 * n, 0.04),
                ("distinct_1", 0.31 - 0.002 * n, 0.31),
                ("distinct_2", 0.72 - 0.004 * n, 0.72),
                ("self_similarity", 0.4 + 0.004 * n, 0.4),
                ("refusal_share", 0.01, 0.012),
            )
            for name, value in (*_interval(stem, value, 0.01).items(), (f"{stem}_base", base))
        },
        "overlap": {"prompts": 2, "of": 512, "ngram": 13},
        "gate": {
            "action": "keep" if kept else "promote",
            "reasons": ["lower bound 47% of the gate win rate (51%) is not above the 50% threshold"]
            if kept
            else [],
            "checks": [
                {"name": "win_rate", "value": previous, "bound": 0.5, "passed": not kept},
                {"name": "kl_budget", "value": 0.15 * n, "bound": 8.0, "passed": True},
            ],
            "attempt": 1,
            "goes_on_from": n - 1 if kept else n,
        },
        "gpu_seconds": 620.0 + n,
        "cpu_seconds": 1900.0 + 3 * n,
        "tokens_in": 812_000 + 900 * n,
        "tokens_out": 1_240_000 + 1_500 * n,
        "labels_by_source": {"llm:judge": 440, **({"human:ann": 60} if n >= PEOPLE_FROM else {})},
        "judges": {},
        "agreement": _agreement(n) if n >= PEOPLE_FROM else {},
        "money": 4.1 + 0.05 * n,
        "money_by": {"gpu": 3.0, "labels": 1.1},
        "cost_by_step": {
            step: {
                "seconds": 40.0 * place,
                "cpu_seconds": 110.0 * place,
                "gpu_seconds": 38.0 * place,
                "tokens_in": 90_000 * place,
                "tokens_out": 140_000 * place,
                "money": 0.4 * place,
            }
            for place, step in enumerate(("judgements", "completions", "training", "answers"), 1)
        },
        "warnings": {"over-optimisation": "Training judge up, evaluation judge not."}
        if n > 45
        else {},
    }


def _slice(rate: float, n: int) -> dict[str, float]:
    return {
        "prompts": 80,
        "win_rate": rate,
        "low": rate - 0.1,
        "high": rate + 0.1,
        "p_adjusted": 0.2,
    }


def _agreement(n: int) -> dict[str, Any]:
    return {
        "kappa": {"llm:judge": {"value": 0.62 + 0.001 * n, "n": 60, "low": 0.5, "high": 0.7}},
        "alpha": {"value": 0.7, "n": 120},
        "with_others": {},
    }


def sample(index: int, rounds: int) -> SampleRow:
    """A prompt that every round answers; its gain from the base to the last is index mod 101."""
    harm = HOSTILE[index] if index < len(HOSTILE) and index != 4 else ""
    gain = (index % 101 - 50) / 10
    answers = tuple(
        SampledAnswer(
            n,
            harm or f"Prompt {index}, policy {n}: the acting was fine and the plot was lovely.",
            gain * n / rounds,
            "",
            "length" if (index + n) % 97 == 0 else "stop",
            verdicts=(SourceVerdict("evaluation", "won against base"),) if n == rounds else (),
        )
        for n in range(rounds + 1)
    )
    prompt = harm or f"Review {index}: the film about the lighthouse"
    return SampleRow(prompt, answers, "held-out", f"prompt-{index}", (f"tag={index % 3}",))


def pair(index: int) -> SampleRow:
    person = (SourceVerdict("human:ann", "preferred", "says what it is about", person=True),)
    answers = (
        SampledAnswer(
            49, f"Answer A of pair {index}", 1.0, "", "stop", "round 49, answer A", person
        ),
        SampledAnswer(49, f"Answer B of pair {index}", 0.2, "", "stop", "round 49, answer B"),
    )
    return SampleRow(f"Train on {index}", answers, "training", f"pair-{index}")


def _entries(n: int) -> list[Entry]:
    counts = (
        ("prompts", 9_000, 512, {"not_drawn": 8_488}),
        ("completions", 2_048, 2_048, {}),
        ("pairs", 512, 471, {"truncated": 11, "margin below 0.1": 30}),
        ("judgements", 471, 466, {"no verdict": 5}),
        ("preferences", 466, 450, {"tie": 16}),
        ("training", 450, 450, {}),
    )
    return [
        Entry(
            n,
            step,
            f"{n:064x}",
            inputs={
                "prompts": f"{n:064x}",
                "policy": f"{n - 1:064x}",
                "reference": f"{n - 1:064x}",
            },
            outputs={f"{step}.parquet": f"{n:064x}"},
            came_in=came_in,
            kept=kept,
            dropped=dropped,
            versions={"torch": "2.13.0"},
            seconds=12.5,
            at=f"2026-01-05T10:{n:02d}:00+00:00",
        )
        for step, came_in, kept, dropped in counts
    ]


def _curve(n: int) -> TrainingCurve:
    at = tuple((k + 1) / 12 for k in range(12))
    accuracy = tuple(Mean(0.5 + 0.03 * k, 32) for k in range(12))
    return TrainingCurve(n, at, accuracy, tuple(Mean(0.2 * k, 32, 0.9) for k in range(12)))


def long_campaign(prompts: int = 5_000, rounds: int = ROUNDS) -> CampaignSummary:
    """`prompts` sample rows, each with an answer of the base and of every round."""
    steps = tuple(entry for n in range(1, rounds + 1) for entry in _entries(n))
    changed = (("training.beta", "0.1", "0.2"),)
    return replace(
        demo(),
        name="long",
        rounds_planned=rounds,
        rounds=tuple(RoundMetrics.model_validate(row(n)) for n in range(1, rounds + 1)),
        samples=(*(sample(k, rounds) for k in range(prompts)), *(pair(k) for k in range(100))),
        settings=ShownSettings(kl_budget=8.0, currency="EUR"),
        details=Details(
            curves=tuple(_curve(n) for n in range(1, rounds + 1)),
            flow=data_flow(steps),
            steps=steps,
            configs=tuple(
                ConfigInForce(n, "campaign.yaml", changed if n == 30 else ())
                for n in range(1, rounds + 1)
            ),
        ),
    )
