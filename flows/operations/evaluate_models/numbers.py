"""The metrics of two models side by side; None for unknown values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dpo_core.evaluation import Interval, length_controlled_win_rate, win_rate
from dpo_core.evaluation.comparison import (
    ByPrompt,
    mean_by_prompt,
    resampling_options,
    share_by_prompt,
)
from dpo_core.evaluation.length_control import is_extrapolated
from dpo_core.evaluation.ratios import ratio
from dpo_core.evaluation.statistics import mean_interval, standard_error
from dpo_core.find_model import share_vocabulary
from flows.config.evaluation import HeldOutConfig
from flows.evaluation.held_out import HeldOutAnswers
from flows.evaluation.win_rates import slice_by_tag
from flows.evaluation.writing import measure_each_answer, measure_variety
from flows.operations.evaluate_models.compare import ModelComparison, outcome_rows
from flows.operations.evaluate_models.request import EvaluationRequest

FORMAT = 1
"""Version of `ratchet evaluate --json`; raised when a name is removed or changes its meaning."""

_MOST_FITS = 2_000
"""Resamples of the fitted model; more hardly change the bounds."""


def measure_models(request: EvaluationRequest, compared: ModelComparison) -> dict[str, Any]:
    """What `ratchet evaluate --json` prints, described in docs/evaluation.md."""
    config = request.config.evaluation
    unit = "tokens" if share_vocabulary(*request.models) else "characters"
    rows = outcome_rows(compared, unit)
    decided = [row for row in rows if row["outcome"] is not None]
    return {
        "format": FORMAT,
        "confidence": config.confidence,
        "prompts": len({row["prompt_id"] for row in decided}),
        "comparisons": len(decided),
        "unreadable": len(rows) - len(decided),
        "unjudged": {
            name: sum(row["unjudged"] == whose for row in rows)
            for name, whose in (("a", "policy"), ("b", "opponent"))
        },
        "too_long": compared.too_long,
        **_win_rates(decided, config),
        "length_unit": unit,
        "kl": _kl(compared, config),
        "models": {
            name: {"model": model.name, "weights": model.id, **_side(answers, config)}
            for name, model, answers in zip("ab", request.models, compared.sides, strict=True)
        },
        "slices": slice_by_tag(decided, request.prompts, config),
        "judges": dict(compared.behaviour),
    }


def _win_rates(rows: Sequence[Mapping[str, Any]], config: HeldOutConfig) -> dict[str, Any]:
    plain = controlled = None
    if rows:
        outcomes, groups = [row["outcome"] for row in rows], [row["prompt_id"] for row in rows]
        options = resampling_options(config)
        plain = win_rate(outcomes, groups=groups, **options)
        controlled = length_controlled_win_rate(
            outcomes,
            [row["length_difference"] for row in rows],
            groups=groups,
            **{**options, "resamples": min(config.bootstrap_resamples, _MOST_FITS)},
        )
    as_json: dict[str, Any] | None = _as_json(controlled)
    if as_json is not None:
        as_json["extrapolated"] = is_extrapolated([row["length_difference"] for row in rows])
    return {"win_rate": _as_json(plain), "length_controlled_win_rate": as_json}


def _kl(compared: ModelComparison, config: HeldOutConfig) -> dict[str, Any]:
    """KL(A‖B) on A's own answers, nats per completion and per token."""
    logratios = compared.logratios
    if isinstance(logratios, str):
        return {"unknown": logratios}
    answers = compared.sides[0].completions
    values = [logratios[c.completion_id] for c in answers]
    groups = [c.prompt.prompt_id for c in answers]
    per_token = ratio(
        values, [c.tokens for c in answers], groups=groups, confidence=config.confidence
    )
    return {
        "nats": {
            **_interval(mean_interval(values, groups=groups, **resampling_options(config))),
            "se": _finite(standard_error(values, groups)),
        },
        "nats_per_token": {**_interval(per_token.interval), "se": _finite(per_token.error)},
    }


def _side(answers: HeldOutAnswers, config: HeldOutConfig) -> dict[str, Any]:
    """Metrics of one model's answers, with intervals for means over answers."""
    completions = answers.completions
    prompts = [c.prompt.prompt_id for c in completions]
    means: dict[str, ByPrompt] = {
        "length_tokens": list(zip(prompts, (c.tokens for c in completions), strict=True)),
        "length_characters": list(zip(prompts, (len(c.text) for c in completions), strict=True)),
    }
    shares: dict[str, ByPrompt] = {
        "truncated_share": list(zip(prompts, (not c.finished for c in completions), strict=True)),
        **measure_each_answer(completions, config),
    }
    scores = {
        source: _as_json(mean_by_prompt(_scores(answers, source), config))
        for source in answers.scores
    }
    return {
        "completions": len(completions),
        **{name: _as_json(mean_by_prompt(values, config)) for name, values in means.items()},
        **{name: _as_json(share_by_prompt(values, config)) for name, values in shares.items()},
        **measure_variety(completions),
        "scores": scores,
    }


def _scores(answers: HeldOutAnswers, source: str) -> ByPrompt:
    """(prompt_id, score) of the answers that the judge scored."""
    scores = answers.scores[source]
    return [
        (c.prompt.prompt_id, value)
        for c in answers.completions
        if (value := scores[c.completion_id].value) is not None
    ]


def _as_json(found: Interval | None) -> dict[str, float | None] | None:
    return _interval(found) if found is not None and math.isfinite(found.estimate) else None


def _interval(found: Interval) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in asdict(found).items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
