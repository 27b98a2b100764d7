"""Which win rate the gate of a campaign can see, before anything is sampled."""

from collections.abc import Iterable
from dataclasses import dataclass

from dpo_core.evaluation.certification import allowance
from dpo_core.evaluation.power import (
    POWER,
    PromotionRule,
    detectable_win_rate,
    prompts_needed,
)
from dpo_core.records import Prompt
from dpo_core.text import counted
from flows.config import CampaignConfig
from generation.prompts import unit_of

REMEDY = "Give more prompts, or raise prompts.gate_share and evaluation.gate_prompts."

GAIN = 0.1
"""Above the threshold. A round rarely wins more: a gate that sees no less refuses most good
policies."""


@dataclass(frozen=True)
class GatePower:
    """prompts: that one decision may look at; groups: that they are of, where these are outcomes;
    win_rate: the lowest that is promoted in four of five rounds, None where none is; at_best: the
    same, if the answers to one prompt were independent, where there are several; needed: prompts,
    or groups, that see GAIN, where these do not."""

    rule: PromotionRule
    prompts: int
    groups: int | None
    samples: int
    win_rate: float | None
    at_best: float | None
    needed: int | None

    @property
    def weak(self) -> bool:
        return not _sees_gain(self.rule, self.win_rate)

    @property
    def sentence(self) -> str:
        samples = f", {self.samples} answers each," if self.samples > 1 else ""
        of = f" of {counted(self.groups, 'group')}" if self.groups is not None else ""
        what = f"{counted(self.prompts, 'gate prompt')}{of}{samples}"
        by = _by(self.rule)
        if self.win_rate is None:
            return f"{what} promote no policy, however good it is ({by}){self._short_of()}"
        best = ""
        if self.at_best is not None:
            best = f", {_percent(self.at_best)} if answers to a prompt do not depend on it"
        return (
            f"{what} see a win rate of {_percent(self.win_rate)}{best}: such a policy is promoted "
            f"in {_percent(POWER)} of rounds ({by}){self._short_of()}"
        )

    def _short_of(self) -> str:
        if self.needed is None:
            return ""
        groups = " groups" if self.groups is not None else ""
        return f"; {_percent(_bar(self.rule))} needs about {self.needed:,}{groups}"


def gate_power(
    config: CampaignConfig,
    gate_prompts: int,
    pool: int | None = None,
    groups: int | None = None,
) -> GatePower:
    """Of a decision with so many gate prompts; pool: all that a certified gate may use.

    groups: of these gate prompts, where `prompts.split_by` keeps groups together: a certified gate
    takes the mean of each. Other rules go by prompts, as if those of a group were independent.
    """
    rule = rule_of(config)
    prompts = gate_prompts
    if rule.alpha is not None:
        prompts = min(at_most(config, gate_prompts), pool or gate_prompts)
    samples = config.evaluation.samples_per_prompt
    # Answers to one prompt tell at least what one of them tells, and at most what all apart do. For
    # a certified gate they are one outcome, which is another matter.
    apart = samples > 1 and rule.alpha is None
    best = detectable_win_rate(rule, prompts * samples) if apart else None
    if rule.alpha is None:
        groups = None
    elif groups is not None:
        groups = max(1, round(groups * prompts / max(1, gate_prompts)))
    found = detectable_win_rate(rule, prompts if groups is None else groups)
    needed = None if _sees_gain(rule, found) else prompts_needed(rule, _bar(rule))
    return GatePower(rule, prompts, groups, samples, found, best, needed)


def groups_of(prompts: Iterable[Prompt], config: CampaignConfig) -> int | None:
    """Of the gate prompts among these; None where none stay together."""
    if config.prompts.split_by != "group":
        return None
    gate = (p for p in prompts if p.split == "gate")
    return len({unit_of(p.prompt_id, p.extra, config.prompts) for p in gate})


def rule_of(config: CampaignConfig) -> PromotionRule:
    """What the gate's win rate must show; its other checks see nothing of how good a policy is."""
    gate = config.gate
    if gate.false_promotions is not None:
        alpha = allowance(1, planned_decisions(config), gate.false_promotions)
        return PromotionRule(gate.threshold, alpha=alpha)
    confidence = config.evaluation.confidence if gate.use == "lower" else None
    return PromotionRule(gate.threshold, confidence=confidence)


def at_most(config: CampaignConfig, first: int) -> int:
    """Gate prompts that one decision of a certified gate may look at; first: those that were
    drawn."""
    given = config.evaluation.gate_prompts
    return config.gate.at_most_prompts or 4 * (given if isinstance(given, int) else first)


def planned_decisions(config: CampaignConfig) -> int:
    rounds = min(config.rounds, config.stop.rounds or config.rounds)
    return rounds * (1 + len(config.gate.retries))


def _bar(rule: PromotionRule) -> float:
    return min(rule.threshold + GAIN, 1.0)


def _sees_gain(rule: PromotionRule, win_rate: float | None) -> bool:
    return win_rate is not None and win_rate <= _bar(rule)


def _by(rule: PromotionRule) -> str:
    above = f"above {_percent(rule.threshold)}"
    if rule.alpha is not None:
        return f"a test at level {rule.alpha:.2g}, {above}"
    if rule.confidence is not None:
        return f"the lower end of its {_percent(rule.confidence)} interval must be {above}"
    chance = ", which chance alone is in half of all rounds" if rule.threshold == 0.5 else ""
    return f"the estimate must be {above}{chance}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
