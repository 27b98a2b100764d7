"""A campaign of three rounds with believable numbers and answers that mean harm."""

import math
from typing import Any

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.read.samples import SampledAnswer, SampleRow
from reporting.summary import CampaignSummary

HOSTILE = (
    "</script><script>window.harmed = 1</script>",
    "<img src=x onerror='window.harmed = 2'><svg onload='window.harmed = 3'>",
    "{{ 7 * 7 }} {% raw %} ${7*7} &amp; &lt;b&gt; --> <!-- ]]>",
    "nul\x00 bell\x07 \x1b[31mred\x1b[0m \x9b2J "
    "bidi\u202egnp.exe\u2066 line\u2028para\u2029 \ud800 \ufeff",
    "A" * 100_000,
    "الفيلم رائع 😀 映画は素晴らしい e\u0301" + "\u0335" * 200,
    "line one\n\n\tline two\r\nhttps://example.com/<script>",
)


def _interval(name: str, value: float, half: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def metrics(round_: int, base: float, previous: float, gate: float, kl: float) -> dict[str, Any]:
    return {
        "round": round_,
        "policy": f"{round_:064x}",
        "previous_policy": f"{round_ - 1:064x}",
        "promoted": gate > 0.5,
        "prompts": 512,
        "completions": 2048,
        "pairs": 471 - 9 * round_,
        "dropped": {
            "margin below 0.1": 30 + 6 * round_,
            "truncated": 11,
            "identical texts": round_,
        },
        "loss": 0.662 - 0.021 * round_,
        "first_loss": math.log(2),
        "accuracy": 0.61 + 0.04 * round_,
        "margin": 0.9 + 0.31 * round_,
        "margin_spread": 1.1,
        "chosen_logratio": 0.2 - 0.05 * round_,
        "rejected_logratio": -0.7 - 0.36 * round_,
        "gradient_norm": 2.4,
        "entropy": 1.31 - 0.04 * round_,
        "padding_share": 0.0,
        "warnings": {},
        "steps": 16,
        **_interval("kl_previous_nats", 0.17 + 0.02 * round_, 0.03),
        "kl_previous_nats_se": 0.015,
        **_interval("kl_base_nats", kl, 0.06),
        "kl_base_nats_se": 0.031,
        **_interval("length_mean", 24.1 + 0.6 * round_, 0.4),
        **_interval("truncated_share", 0.004 * round_, 0.003),
        **_interval("score_mean", 0.02 + 0.16 * round_, 0.04),
        **_interval("win_rate_previous", previous, 0.041),
        **_interval("win_rate_base", base, 0.04),
        **_interval("win_rate_gate", gate, 0.042),
        "score_mean_base": 0.021,
        "length_mean_base": 24.1,
        "gate_prompts": 256,
        "test_prompts": 512,
        "measure_accepted": 0.951 + 0.003 * round_,
        "measure_accepted_previous": 0.951 + 0.003 * (round_ - 1),
        "measure_accepted_base": 0.951,
        "seconds_sample": 2.1,
        "seconds_judge": 0.3,
        "seconds_train": 2.4 + 0.1 * round_,
        "seconds_evaluate": 3.2,
        "seconds_start": 8.1,
        "seconds_round": 17.0 + 0.2 * round_,
        "tokens_per_second": 6890.4,
        "train_tokens_per_second": 2240.1,
        "train_flops_per_second": 1.9e10,
        "mfu": 0.34,
        "train_peak_memory_gib": 0.71,
    }


def measured(*numbers: Any, **columns: Any) -> RoundMetrics:
    """The metrics of a round with these numbers, but for `columns`."""
    return RoundMetrics.model_validate({**metrics(*numbers), **columns})


def _sample(index: int, rounds: int) -> SampleRow:
    harm = HOSTILE[index] if index < len(HOSTILE) else ""
    answers = tuple(
        SampledAnswer(
            round_,
            harm
            or f"The acting was {word} and the plot was {word}. Prompt {index}, policy {round_}.",
            None if index == 3 else -0.5 + 0.4 * round_ + 0.01 * (index % 7),
            HOSTILE[1] if harm else f"{round_} positive, {3 - round_} negative clauses",
            "length" if (index + round_) % 9 == 0 else "stop",
        )
        for round_, word in enumerate(("dull", "fine", "lovely", "a triumph")[: rounds + 1])
    )
    return SampleRow(harm or f"Review {index}: the film about the lighthouse", answers)


def demo() -> CampaignSummary:
    rounds = (
        measured(1, 0.634, 0.634, 0.641, 0.18),
        measured(2, 0.712, 0.583, 0.579, 0.37),
        measured(3, 0.781, 0.571, 0.566, 0.61),
    )
    return CampaignSummary(
        name="demo-cpu",
        directory="/campaigns/demo-cpu",
        state="finished",
        rounds_planned=3,
        rounds=rounds,
        base={
            "score_mean": 0.021,
            "length_mean": 24.1,
            "truncated_share": 0.004,
            "measure_accepted": 0.951,
        },
        samples=tuple(_sample(index, 3) for index in range(64)),
        config_yaml="name: demo-cpu\nseed: 0\n# </pre><script>window.harmed = 4</script>\n",
    )
