"""The metrics of two models side by side."""

import math
from collections.abc import Sequence
from typing import TypeVar

from dpo_core.evaluation import Interval, length_controlled_win_rate
from dpo_core.evaluation.comparison import (
    ByPrompt,
    Decided,
    mean_by_prompt,
    resampling_options,
    share_by_prompt,
    win_rate_by_prompt,
)
from dpo_core.evaluation.length_control import is_extrapolated
from dpo_core.evaluation.ratios import ratio
from dpo_core.evaluation.statistics import mean_interval, standard_error
from dpo_core.find_model import Model, share_vocabulary
from flows.config.evaluation import HeldOutConfig
from flows.evaluation.held_out import HeldOutAnswers
from flows.evaluation.win_rates import decided_of, slice_by_tag
from flows.evaluation.writing import measure_each_answer, measure_variety
from flows.operations.evaluate_models.compare import ModelComparison, outcome_rows
from flows.operations.evaluate_models.request import EvaluationRequest
from reporting.models import ControlledRate, Divergence, ModelNumbers, TwoModelsNumbers

FORMAT = 1
"""Version of `ratchet evaluate --json`; raised when a name is removed or changes its meaning."""

AnyInterval = TypeVar("AnyInterval", bound=Interval)

_MOST_FITS = 2_000
"""Resamples of the fitted model; more hardly change the bounds."""


def measure_models(request: EvaluationRequest, compared: ModelComparison) -> TwoModelsNumbers:
    """What `ratchet evaluate --json` prints, described in docs/evaluation.md."""
    config = request.config.evaluation
    unit = "tokens" if share_vocabulary(*request.models) else "characters"
    rows = outcome_rows(request, compared, unit)
    decided = decided_of(rows)
    return TwoModelsNumbers(
        format=FORMAT,
        confidence=config.confidence,
        prompts=len({row.prompt_id for row in decided}),
        comparisons=len(decided),
        unreadable=len(rows) - len(decided),
        unjudged={
            name: sum(row["unjudged"] == whose for row in rows)
            for name, whose in (("a", "policy"), ("b", "opponent"))
        },
        too_long=compared.too_long,
        win_rate=_known(win_rate_by_prompt([row[:2] for row in decided], config)),
        length_controlled_win_rate=_control_length(decided, config),
        length_unit=unit,
        kl=_kl(compared, config),
        models={
            name: _side(model, answers, config)
            for name, model, answers in zip("ab", request.models, compared.sides, strict=True)
        },
        slices=slice_by_tag(decided, request.prompts, config),
        judges=compared.behaviour,
    )


def _control_length(rows: Sequence[Decided], config: HeldOutConfig) -> ControlledRate | None:
    if not rows:
        return None
    differences = [row.length_difference for row in rows]
    rate = length_controlled_win_rate(
        [row.outcome for row in rows],
        differences,
        groups=[row.prompt_id for row in rows],
        confidence=config.confidence,
        resamples=min(config.bootstrap_resamples, _MOST_FITS),
    )
    return _known(ControlledRate(**vars(rate), extrapolated=is_extrapolated(differences)))


def _kl(compared: ModelComparison, config: HeldOutConfig) -> dict[str, Divergence | str]:
    """KL(A‖B) on A's own answers, nats per completion and per token."""
    logratios = compared.logratios
    if isinstance(logratios, str):
        return {"unknown": logratios}
    answers = compared.sides[0].completions
    values = [logratios[c.completion_id] for c in answers]
    groups = [c.prompt.prompt_id for c in answers]
    whole = mean_interval(values, groups=groups, **resampling_options(config))
    per_token = ratio(
        values, [c.tokens for c in answers], groups=groups, confidence=config.confidence
    )
    return {
        "nats": Divergence(**vars(whole), se=standard_error(values, groups)),
        "nats_per_token": Divergence(**vars(per_token.interval), se=per_token.error),
    }


def _side(model: Model, answers: HeldOutAnswers, config: HeldOutConfig) -> ModelNumbers:
    """Metrics of one model's answers, with intervals for means over answers."""
    completions = answers.completions

    means = {
        "length_tokens": [(c.prompt.prompt_id, c.tokens) for c in completions],
        "length_characters": [(c.prompt.prompt_id, len(c.text)) for c in completions],
    }
    shares: dict[str, ByPrompt] = {
        "truncated_share": [(c.prompt.prompt_id, not c.finished) for c in completions],
        **measure_each_answer(completions, config),
    }
    scores = {source: mean_by_prompt(_scores(answers, source), config) for source in answers.scores}
    return ModelNumbers(
        model.name,
        model.id,
        len(completions),
        metrics={
            **{name: _known(mean_by_prompt(values, config)) for name, values in means.items()},
            **{name: _known(share_by_prompt(values, config)) for name, values in shares.items()},
            **measure_variety(completions),
        },
        scores={source: _known(score) for source, score in scores.items()},
    )


def _scores(answers: HeldOutAnswers, source: str) -> ByPrompt:
    """(prompt_id, score) of the answers that the judge scored."""
    scores = answers.scores[source]
    return [
        (c.prompt.prompt_id, value)
        for c in answers.completions
        if (value := scores[c.completion_id].value) is not None
    ]


def _known(interval: AnyInterval | None) -> AnyInterval | None:
    """None for an interval whose estimate is unknown."""
    return interval if interval is not None and math.isfinite(interval.estimate) else None
