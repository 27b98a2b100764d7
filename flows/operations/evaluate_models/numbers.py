"""The numbers of two models side by side; None for what cannot be had."""

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
from flows.evaluation.win_rates import by_tag
from flows.evaluation.writing import by_answer, of_all
from flows.operations.evaluate_models.asked import EvaluationRequest
from flows.operations.evaluate_models.compare import ModelComparison, outcome_rows

FORMAT = 1
"""Of `ratchet evaluate --json`; raised when a name changes its meaning or goes."""

_MOST_FITS = 2_000
"""Of a model that is fitted to each resample; the ends hardly move with more."""


def numbers(asked: EvaluationRequest, compared: ModelComparison) -> dict[str, Any]:
    """What `ratchet evaluate --json` prints; docs/evaluation.md says what each is."""
    config = asked.config.evaluation
    unit = "tokens" if share_vocabulary(*asked.models) else "characters"
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
            for name, model, answers in zip("ab", asked.models, compared.sides, strict=True)
        },
        "slices": by_tag(decided, asked.prompts, config),
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
    shown = _shown(controlled)
    if shown is not None:
        shown["extrapolated"] = is_extrapolated([row["length_difference"] for row in rows])
    return {"win_rate": _shown(plain), "length_controlled_win_rate": shown}


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
    """What one model's answers are like, with intervals of what is a mean over answers."""
    completions = answers.completions
    prompts = [c.prompt.prompt_id for c in completions]
    means: dict[str, ByPrompt] = {
        "length_tokens": list(zip(prompts, (c.tokens for c in completions), strict=True)),
        "length_characters": list(zip(prompts, (len(c.text) for c in completions), strict=True)),
    }
    shares: dict[str, ByPrompt] = {
        "truncated_share": list(zip(prompts, (not c.finished for c in completions), strict=True)),
        **by_answer(completions, config),
    }
    scores = {
        source: _shown(mean_by_prompt(_scores(answers, source), config))
        for source in answers.scores
    }
    return {
        "completions": len(completions),
        **{name: _shown(mean_by_prompt(values, config)) for name, values in means.items()},
        **{name: _shown(share_by_prompt(values, config)) for name, values in shares.items()},
        **of_all(completions),
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


def _shown(found: Interval | None) -> dict[str, float | None] | None:
    return _interval(found) if found is not None and math.isfinite(found.estimate) else None


def _interval(found: Interval) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in asdict(found).items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
