"""Power of the gate: the smallest win rate that it can detect, before anything is sampled."""

from collections.abc import Iterable
from dataclasses import dataclass

from dpo_core.evaluation.certification import allowance
from dpo_core.evaluation.power import POWER, PromotionRule, detectable_win_rate, prompts_needed
from dpo_core.records import Prompt
from dpo_core.text import counted
from flows.config import CampaignConfig
from generation.prompts import split_unit

REMEDY = "Give more prompts, or raise prompts.gate_share and evaluation.gate_prompts."

GAIN = 0.1
"""Win rate above the threshold. Few rounds gain more, so a gate that needs more rejects most good
policies."""


@dataclass(frozen=True)
class GatePower:
    """What one decision of the gate can detect.

    prompts: that it may use. groups: of these prompts, where outcomes are per group. win_rate: the
    lowest that is promoted in four of five rounds; None: none is. at_best: the same if several
    answers to one prompt were independent. needed: prompts or groups that would detect GAIN.
    """

    rule: PromotionRule
    prompts: int
    groups: int | None
    samples: int
    win_rate: float | None
    at_best: float | None
    needed: int | None

    @property
    def weak(self) -> bool:
        return not _detects_gain(self.rule, self.win_rate)

    @property
    def sentence(self) -> str:
        samples = f", {self.samples} answers each," if self.samples > 1 else ""
        groups = f" of {counted(self.groups, 'group')}" if self.groups is not None else ""
        what = f"{counted(self.prompts, 'gate prompt')}{groups}{samples}"
        by = _describe_rule(self.rule)
        if self.win_rate is None:
            return f"{what} promote no policy, however good it is ({by}){self._shortfall()}"
        best = ""
        if self.at_best is not None:
            best = f" ({_percent(self.at_best)} if answers to one prompt were independent)"
        return (
            f"{what} detect a win rate of {_percent(self.win_rate)}{best}: such a policy is "
            f"promoted in {_percent(POWER)} of rounds ({by}){self._shortfall()}"
        )

    def _shortfall(self) -> str:
        if self.needed is None:
            return ""
        groups = " groups" if self.groups is not None else ""
        return f"; {_percent(_bar(self.rule))} needs about {self.needed:,}{groups}"


def gate_power(
    config: CampaignConfig, gate_prompts: int, pool: int | None = None, groups: int | None = None
) -> GatePower:
    """The power of a decision on `gate_prompts`.

    pool: all prompts that a certified gate may use. groups: of the gate prompts, where
    `prompts.split_by` is group; a certified gate takes the mean of each, other rules treat their
    prompts as independent.
    """
    rule = promotion_rule(config)
    prompts = gate_prompts
    if rule.alpha is not None:
        prompts = min(max_prompts(config, gate_prompts), pool or gate_prompts)
    samples = config.evaluation.samples_per_prompt
    # Several answers to a prompt inform at least as one, and at most as independent ones. For a
    # certified gate they are one outcome.
    apart = samples > 1 and rule.alpha is None
    best = detectable_win_rate(rule, prompts * samples) if apart else None
    if rule.alpha is None:
        groups = None
    elif groups is not None:
        groups = max(1, round(groups * prompts / max(1, gate_prompts)))
    detectable = detectable_win_rate(rule, prompts if groups is None else groups)
    needed = None if _detects_gain(rule, detectable) else prompts_needed(rule, _bar(rule))
    return GatePower(rule, prompts, groups, samples, detectable, best, needed)


def count_groups(prompts: Iterable[Prompt], config: CampaignConfig) -> int | None:
    """Groups of the gate prompts among these; None if prompts are split one by one."""
    if config.prompts.split_by != "group":
        return None
    gate = (p for p in prompts if p.split == "gate")
    return len({split_unit(p.prompt_id, p.extra, config.prompts) for p in gate})


def promotion_rule(config: CampaignConfig) -> PromotionRule:
    """The gate's condition on the win rate. Other checks do not depend on how good a policy is."""
    gate = config.gate
    if gate.false_promotions is not None:
        alpha = allowance(1, planned_decisions(config), gate.false_promotions)
        return PromotionRule(gate.threshold, alpha=alpha)
    confidence = config.evaluation.confidence if gate.use == "lower" else None
    return PromotionRule(gate.threshold, confidence=confidence)


def max_prompts(config: CampaignConfig, first: int) -> int:
    """Gate prompts that one decision of a certified gate may use; first: those that were drawn."""
    given = config.evaluation.gate_prompts
    return config.gate.at_most_prompts or 4 * (given if isinstance(given, int) else first)


def planned_decisions(config: CampaignConfig) -> int:
    rounds = min(config.rounds, config.stop.rounds or config.rounds)
    return rounds * (1 + len(config.gate.retries))


def _bar(rule: PromotionRule) -> float:
    return min(rule.threshold + GAIN, 1.0)


def _detects_gain(rule: PromotionRule, win_rate: float | None) -> bool:
    return win_rate is not None and win_rate <= _bar(rule)


def _describe_rule(rule: PromotionRule) -> str:
    above = f"above {_percent(rule.threshold)}"
    if rule.alpha is not None:
        return f"a test at level {rule.alpha:.2g}, {above}"
    if rule.confidence is not None:
        return f"the lower bound of its {_percent(rule.confidence)} interval must be {above}"
    chance = ", which chance alone reaches in half of all rounds" if rule.threshold == 0.5 else ""
    return f"the estimate must be {above}{chance}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
