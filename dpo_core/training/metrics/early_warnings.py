"""Early warnings: signs that a round's training goes wrong, while it can still be stopped.

Each check is a pure function of the rows of the curve (curves.DPO_CURVE) so far. It looks at a
window of at least WINDOW_PAIRS pairs and WINDOW_STEPS steps, so a single odd batch has no effect; a
shorter round is not checked. Each warning is given once per round.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from dpo_core.children import NOTICES
from dpo_core.config import TrainingConfig
from dpo_core.training.metrics.curves import DpoCurveRow
from dpo_core.training.metrics.suggested_values import (
    suggest_higher_beta,
    suggest_higher_rate,
    suggest_lower_rate,
)

WINDOW_PAIRS = 128
WINDOW_STEPS = 4
CHOSEN_FALL_NATS = 0.5
CHOSEN_FALL_OF_MARGIN = 0.25
SATURATED_WEIGHT = 0.05
LENGTH_CORRELATION = 0.75
LEAK_ACCURACY = 0.99
STUCK_SPREAD_NATS = 0.01
STUCK_SHARE_OF_ROUND = 0.25
KL_SHARE_OF_ROUND = 0.1
KL_BUDGET_PER_TOKEN = 0.5
"""Nats per token that a policy may move in a round without training.kl_budget_nats."""

_SATURATING = ("sigmoid", "robust")
"""Losses whose gradient weight is the column gradient_weight."""


@dataclass(frozen=True)
class EarlyWarning:
    """message: what was observed, with numbers. remedy: what to do next."""

    name: str
    step: int
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"Training, step {self.step}: {self.message} {self.remedy}"


@dataclass
class History:
    """Rows of a round so far: a window after step 1 (`opening`) and the latest (`recent`)."""

    config: TrainingConfig
    steps: int
    opening: list[DpoCurveRow] = field(default_factory=list)
    recent: deque[DpoCurveRow] = field(default_factory=deque)
    first: DpoCurveRow | None = None

    def add(self, row: DpoCurveRow) -> None:
        self.first = self.first or row
        if not _is_window(self.opening) and not self._at_reference(row):
            self.opening.append(row)
        self.recent.append(row)
        while _is_window(list(islice(self.recent, 1, None))):
            self.recent.popleft()

    def _at_reference(self, row: DpoCurveRow) -> bool:
        """Whether policy and reference are equal, where accuracy only shows rounding errors."""
        return bool(row["step"] == 1 and _value(row, "margin_spread") < STUCK_SPREAD_NATS)

    @property
    def full(self) -> bool:
        """Whether `recent` is a whole window."""
        return _is_window(self.recent)

    @property
    def last(self) -> DpoCurveRow:
        return self.recent[-1]

    def mean(self, name: str) -> float:
        """Mean of a column over the pairs of the latest window; 0 without rows."""
        return mean(list(self.recent), name)


Check = Callable[[History], tuple[str, str] | None]
"""check(history) -> (message, remedy), or None without a warning."""


class Watch:
    """Checks the rows of a round of `steps` optimiser steps as they pass.

    A warning is sent at once through dpo_core.children.NOTICES, and kept in `warnings`.
    """

    def __init__(self, config: TrainingConfig, steps: int) -> None:
        self.warnings: list[EarlyWarning] = []
        self._history = History(config, steps)

    def over(self, rows: Iterable[DpoCurveRow]) -> Iterator[DpoCurveRow]:
        """Yield the rows, checking those with margins; without a reference there are none."""
        for row in rows:
            if row["margin"] is not None:
                self._check(row)
            yield row

    def _check(self, row: DpoCurveRow) -> None:
        self._history.add(row)
        known = {given.name for given in self.warnings}
        for name, check in CHECKS.items():
            warning = check(self._history) if name not in known else None
            if warning is not None:
                self.warnings.append(EarlyWarning(name, row["step"], *warning))
                NOTICES.warning("%s", self.warnings[-1])


def chosen_falls(seen: History) -> tuple[str, str] | None:
    """Likelihood displacement: Razin et al. 2024 (arXiv:2410.08847)."""
    chosen, rejected = seen.mean("chosen_logratio"), seen.mean("rejected_logratio")
    allowed = max(CHOSEN_FALL_NATS, CHOSEN_FALL_OF_MARGIN * seen.mean("margin"))
    if not seen.full or chosen > -allowed:
        return None
    return (
        f"chosen completions become less likely: {-chosen:.2f} nats below the reference "
        f"(rejected ones: {-rejected:.2f}). Their probability goes to completions that nobody "
        "judged (likelihood displacement).",
        "Set training.nll_weight, lower training.learning_rate, or drop pairs whose completions "
        "are nearly alike.",
    )


def margins_saturate(seen: History) -> tuple[str, str] | None:
    """Most margins have almost no gradient left; what remains comes from contradicting pairs."""
    weight = seen.mean("gradient_weight")
    if not seen.full or seen.config.loss not in _SATURATING or weight > SATURATED_WEIGHT:
        return None
    return (
        f"margins saturate: at {seen.mean('margin'):.1f} nats the gradient weight of pairs is "
        f"{weight:.3f}, down from 0.5. What still moves the policy is mostly mislabelled pairs.",
        "Train fewer epochs or lower training.learning_rate, and start the next round earlier; "
        "training.label_smoothing or training.loss: ipo bound the margins.",
    )


def length_correlates(seen: History) -> tuple[str, str] | None:
    """The policy learns to write longer, or shorter, rather than better."""
    known = [row for row in seen.recent if row["length_correlation"] is not None]
    correlation = mean(known, "length_correlation")
    if not _is_window(known) or abs(correlation) < LENGTH_CORRELATION:
        return None
    word = "longer" if correlation > 0 else "shorter"
    return (
        f"implicit rewards follow length (correlation {correlation:+.2f}): the policy learns to "
        f"prefer {word} completions. Chosen ones have {seen.mean('chosen_tokens'):.0f} tokens, "
        f"rejected ones {seen.mean('rejected_tokens'):.0f}.",
        "Check whether the judge intends this; if not, set training.ld_alpha below 1 or "
        "training.loss: sigmoid_norm.",
    )


def labels_leak(seen: History) -> tuple[str, str] | None:
    """Unseen pairs are classified correctly from the start: the texts reveal the labels."""
    rows = seen.opening
    accuracy, pairs = mean(rows, "accuracy"), sum(row["pairs"] for row in rows)
    new = bool(rows) and rows[-1]["step"] <= seen.steps / seen.config.epochs
    if not _is_window(rows) or not new or accuracy < LEAK_ACCURACY:
        return None
    return (
        f"accuracy is {accuracy:.2f} in the first steps already, on {pairs} pairs not trained on "
        "before: something gives the chosen completions away.",
        "Compare chosen and rejected texts (length, format, ending), and check that the policy was "
        "not trained on these pairs in an earlier round.",
    )


def stuck_at_reference(seen: History) -> tuple[str, str] | None:
    """Margins stay at 0: nothing is learnt."""
    spread, step = seen.mean("margin_spread"), seen.last["step"]
    rate = seen.config.learning_rate
    early = step < seen.config.warmup_steps + STUCK_SHARE_OF_ROUND * seen.steps
    if not seen.full or early or spread > STUCK_SPREAD_NATS:
        return None
    return (
        f"the loss is stuck at {seen.mean('loss'):.4f}, its value where policy and reference are "
        f"equal (ln 2 = 0.6931 for sigmoid): after {step} steps margins differ by no more than "
        f"{spread:.1g} nats.",
        f"Try training.learning_rate {suggest_higher_rate(rate, spread):g} (now {rate:g}); if that "
        "changes nothing either, the weights are frozen, or the reference is the policy itself.",
    )


def kl_budget_passed(seen: History) -> tuple[str, str] | None:
    """The policy is going to be too far from the reference at the end, at its pace so far.

    Minus the mean log-ratio of completions that the reference sampled estimates KL(reference ‖
    policy). Pairs are selected among the samples, so on pairs it is only an indication.
    """
    if not seen.full or seen.last["step"] < KL_SHARE_OF_ROUND * seen.steps:
        return None
    now = -(seen.mean("chosen_logratio") + seen.mean("rejected_logratio")) / 2
    assert seen.first is not None, "the window is full"
    # Where the policy was before any update: 0 unless the reference is another policy.
    first = (_value(seen.first, "chosen_logratio"), _value(seen.first, "rejected_logratio"))
    start = -sum(first) / 2
    expected = start + (now - start) * (seen.steps - 1) / (seen.mean("step") - 1)
    tokens = (seen.mean("chosen_tokens") + seen.mean("rejected_tokens")) / 2
    budget = seen.config.kl_budget_nats or KL_BUDGET_PER_TOKEN * tokens
    if expected <= budget:
        return None
    rate, beta = seen.config.learning_rate, seen.config.beta
    lower_rate = suggest_lower_rate(rate, expected, budget)
    higher_beta = suggest_higher_beta(beta, expected, budget)
    return (
        f"the policy moves too fast: about {expected:.1f} nats per completion from its reference "
        f"by the end of the round at this pace (now {now:.1f}, estimated on the training pairs; "
        f"budget {budget:.1f}).",
        f"Try training.learning_rate {lower_rate:g} (now {rate:g}), or training.beta "
        f"{higher_beta:g} (now {beta:g}); training.kl_budget_nats sets the budget.",
    )


CHECKS: dict[str, Check] = {
    "chosen_falls": chosen_falls,
    "margins_saturate": margins_saturate,
    "length_correlates": length_correlates,
    "labels_leak": labels_leak,
    "stuck_at_reference": stuck_at_reference,
    "kl_budget_passed": kl_budget_passed,
}


def mean(rows: Sequence[DpoCurveRow], name: str) -> float:
    """Mean of a column over the pairs of the rows; 0 without rows."""
    pairs = sum(row["pairs"] for row in rows)
    return sum(row["pairs"] * _value(row, name) for row in rows) / pairs if pairs else 0.0


def _value(row: Mapping[str, object], name: str) -> float:
    value = row[name]
    assert isinstance(value, int | float), "rows without a reference are not checked"
    return value


def _is_window(rows: Sequence[DpoCurveRow]) -> bool:
    return len(rows) >= WINDOW_STEPS and sum(row["pairs"] for row in rows) >= WINDOW_PAIRS
