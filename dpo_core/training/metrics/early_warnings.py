"""What goes wrong in a round, said in plain words while it can still be stopped.

Each check is a pure function of the rows of the curve (curves.DPO_CURVE) so far.
A window holds at least WINDOW_PAIRS pairs and WINDOW_STEPS steps, so that one odd batch says
nothing; a shorter round is not judged. Each warning is given once per round.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from dpo_core.children import NOTICES
from dpo_core.config import TrainingConfig
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
"""Nats per token that a policy may move in a round when training.kl_budget_nats does not say."""

_SATURATING = ("sigmoid", "robust")
"""Losses whose gradient is what the column gradient_weight says."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class EarlyWarning:
    """`message` says what was seen, with its numbers, `remedy` what to do next."""

    name: str
    step: int
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"Training, step {self.step}: {self.message} {self.remedy}"


@dataclass
class History:
    """Rows of a round so far: the first after step 1, and the last, as many as make a window."""

    config: TrainingConfig
    steps: int
    opening: list[Row] = field(default_factory=list)
    recent: deque[Row] = field(default_factory=deque)
    first: Row | None = None

    def add(self, row: Row) -> None:
        self.first = self.first or row
        if not _is_window(self.opening) and not self._at_reference(row):
            self.opening.append(row)
        self.recent.append(row)
        while _is_window(list(islice(self.recent, 1, None))):
            self.recent.popleft()

    def _at_reference(self, row: Row) -> bool:
        """Where policy and reference are equal, accuracy is the sign of rounding errors."""
        return bool(row["step"] == 1 and row["margin_spread"] < STUCK_SPREAD_NATS)

    @property
    def full(self) -> bool:
        return _is_window(self.recent)

    @property
    def last(self) -> Row:
        return self.recent[-1]

    def mean(self, name: str) -> float:
        """Over the pairs of the last window; 0 when nothing is known."""
        return mean(list(self.recent), name)


Check = Callable[[History], tuple[str, str] | None]
"""check(history) -> (message, remedy), or None when all is well."""


class Watch:
    """Looks at the rows of a round of `steps` optimiser steps as they pass.

    A warning is said at once, through dpo_core.children.NOTICES, and kept in `found`.
    """

    def __init__(self, config: TrainingConfig, steps: int) -> None:
        self.found: list[EarlyWarning] = []
        self._history = History(config, steps)

    def over(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Pass the rows on. All checks are about margins: a row without any, for want of a
        reference, is not looked at."""
        for row in rows:
            if row["margin"] is not None:
                self._look(row)
            yield row

    def facts(self) -> list[dict[str, Any]]:
        return [asdict(warning) for warning in self.found]

    def _look(self, row: Row) -> None:
        self._history.add(row)
        known = {warning.name for warning in self.found}
        for name, check in CHECKS.items():
            said = check(self._history) if name not in known else None
            if said is not None:
                self.found.append(EarlyWarning(name, row["step"], *said))
                NOTICES.warning("%s", self.found[-1])


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
    """The loss has no slope left at most margins: it teaches only what contradicts them."""
    weight = seen.mean("gradient_weight")
    if not seen.full or seen.config.loss not in _SATURATING or weight > SATURATED_WEIGHT:
        return None
    return (
        f"margins saturate: at {seen.mean('margin'):.1f} nats pairs pull with a weight of "
        f"{weight:.3f}, after 0.5 at the start. What still moves the policy is mostly mislabelled.",
        "Train fewer epochs or at a lower training.learning_rate, and begin the next round "
        "earlier; label_smoothing or training.loss: ipo bound the margins.",
    )


def length_correlates(seen: History) -> tuple[str, str] | None:
    """The policy learns to write longer, or shorter, rather than better."""
    known = [row for row in seen.recent if row["length_correlation"] is not None]
    found = mean(known, "length_correlation")
    if not _is_window(known) or abs(found) < LENGTH_CORRELATION:
        return None
    word = "longer" if found > 0 else "shorter"
    return (
        f"implicit rewards follow length (correlation {found:+.2f}): {word} completions are "
        f"preferred as such. Chosen ones have {seen.mean('chosen_tokens'):.0f} tokens, rejected "
        f"ones {seen.mean('rejected_tokens'):.0f}.",
        "Check whether the judge means it; if not, set training.ld_alpha below 1 or "
        "training.loss: sigmoid_norm.",
    )


def labels_leak(seen: History) -> tuple[str, str] | None:
    """Unseen pairs are told apart before anything was learnt: the labels show in the texts."""
    rows = seen.opening
    accuracy, pairs = mean(rows, "accuracy"), sum(row["pairs"] for row in rows)
    new = bool(rows) and rows[-1]["step"] <= seen.steps / seen.config.epochs
    if not _is_window(rows) or not new or accuracy < LEAK_ACCURACY:
        return None
    return (
        f"accuracy is {accuracy:.2f} in the first steps already, on {pairs} pairs that were not "
        "trained on before: something gives the chosen completion away.",
        "Compare chosen and rejected texts (length, format, ending), and check that the policy has "
        "not learnt these pairs in an earlier round.",
    )


def stuck_at_reference(seen: History) -> tuple[str, str] | None:
    """No margin moves away from 0: nothing is trained."""
    spread, step = seen.mean("margin_spread"), seen.last["step"]
    rate = seen.config.learning_rate
    early = step < seen.config.warmup_steps + STUCK_SHARE_OF_ROUND * seen.steps
    if not seen.full or early or spread > STUCK_SPREAD_NATS:
        return None
    return (
        f"the loss is stuck at {seen.mean('loss'):.4f}, what it is where policy and reference are "
        f"equal (ln 2 = 0.6931 for sigmoid): after {step} steps margins differ by no more than "
        f"{spread:.1g} nats.",
        f"Try training.learning_rate {suggest_higher_rate(rate, spread):g} (now {rate:g}); if that "
        "moves nothing either, the weights are frozen, or the reference is the policy itself.",
    )


def kl_budget_passed(seen: History) -> tuple[str, str] | None:
    """How far from the reference the policy will be at the end, if it goes on as it has so far.

    Minus the mean log-ratio of completions that the reference sampled estimates KL(reference ‖
    policy). Pairs are chosen among the samples, so on them it is an indication only.
    """
    if not seen.full or seen.last["step"] < KL_SHARE_OF_ROUND * seen.steps:
        return None
    now = -(seen.mean("chosen_logratio") + seen.mean("rejected_logratio")) / 2
    assert seen.first is not None, "the window is full"
    # Where the policy stood before any update: 0 but for a reference that is not its start.
    start = -(seen.first["chosen_logratio"] + seen.first["rejected_logratio"]) / 2
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
        f"by the end of the round, if it goes on like this (now {now:.1f}, estimated on the "
        f"training pairs; budget {budget:.1f}).",
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


def mean(rows: Sequence[Row], name: str) -> float:
    """Over the pairs of the rows; 0 when there are none."""
    pairs = sum(row["pairs"] for row in rows)
    return float(sum(row["pairs"] * row[name] for row in rows) / pairs) if pairs else 0.0


def _is_window(rows: Sequence[Row]) -> bool:
    return len(rows) >= WINDOW_STEPS and sum(row["pairs"] for row in rows) >= WINDOW_PAIRS
