"""A campaign as read from disk, for status, report and Prefect artifacts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dpo_core.campaign.costs import campaign_cost
from dpo_core.campaign.current import StopReason, read_current
from dpo_core.campaign.facts import count_gate_looks, is_over, read_round_metrics
from dpo_core.campaign.failure import Failure, read_failure
from dpo_core.campaign.identity import KEPT, SETTLED
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, Ledger
from dpo_core.campaign.lock import holder
from dpo_core.campaign.metric_fields import finite
from dpo_core.campaign.prices import PricesConfig
from dpo_core.campaign.remote import read_place
from dpo_core.campaign.retractions import RETRACT, Retraction, standing
from dpo_core.campaign.rollbacks import Rollback, rolled_back
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.round_parts import CampaignCost
from dpo_core.campaign.step_facts import SampledFacts
from dpo_core.campaign.step_now import StepNow
from dpo_core.campaign.waiting import read_waiting
from dpo_core.campaign.workers_now import WorkersNow, describe_workers
from flows.config import check_is_campaign
from flows.config.raw import RawConfig
from flows.config.reading import planned_rounds, read_stored_text
from reporting.read.details import Details, read_details
from reporting.read.pairs import training_rows
from reporting.read.samples import SampleRow, held_out_rows

CONFIDENCE = 0.95
"""Level of confidence intervals if the config does not say it."""


@dataclass(frozen=True)
class ShownSettings:
    """What is shown of the config in force: `evaluation.confidence`, `gate.kl_budget` and
    `prices.currency`."""

    confidence: float = CONFIDENCE
    kl_budget: float | Literal["auto"] | None = None
    currency: str | None = None

    @classmethod
    def read(cls, config: RawConfig) -> "ShownSettings":
        """Of a config that need not be valid."""
        level = finite(config.get("evaluation.confidence"))
        budget, currency = config.get("gate.kl_budget"), config.get("prices.currency")
        return cls(
            level if level is not None and 0 < level < 1 else CONFIDENCE,
            "auto" if budget == "auto" else finite(budget),
            str(currency) if currency else None,
        )


@dataclass(frozen=True)
class CampaignSummary:
    """Everything that is shown of a campaign.

    rounds: of the finished ones, in order.
    base: metrics of the base policy (score_mean, length_mean, truncated_share, measure_<name>).
    doing: what runs now, or what people are asked for.
    retractions: sources whose judgements do not count.
    outdated: rounds that must be run again after a retraction or its undoing.
    cost: of the whole campaign.
    stopped: why the campaign ended early.
    rollbacks: by people, who override the gate.
    details: what only the report shows.
    samples_left_out: number of held-out prompts beyond what fits a page.
    gate_looks: number of policies that the gate decided on, with the same prompts.
    stored: where else the campaign is, and how far.
    failure: why the last run failed; None while another one goes on.
    step: what runs now.
    setup: (what, value) of the config in force: what one asks first.
    """

    name: str
    directory: str
    state: str  # "finished", "running", "waiting" for people, "stopped"
    rounds_planned: int
    rounds: tuple[RoundMetrics, ...]
    base: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[SampleRow, ...] = ()
    config_yaml: str = ""
    settings: ShownSettings = ShownSettings()
    doing: str = ""
    retractions: tuple[Retraction, ...] = ()
    outdated: tuple[int, ...] = ()
    cost: CampaignCost = field(default_factory=CampaignCost)
    stopped: StopReason | None = None
    rollbacks: tuple[Rollback, ...] = ()
    details: Details = field(default_factory=Details)
    samples_left_out: int = 0
    gate_looks: int = 0
    stored: str = ""
    failure: Failure | None = None
    step: StepNow | None = None
    setup: tuple[tuple[str, str], ...] = ()

    def row(self, number: int) -> RoundMetrics | None:
        """Metrics of a finished round; None if it has not finished."""
        return next((row for row in self.rounds if row.round == number), None)


def read_summary(root: Path, *, samples: bool = True) -> CampaignSummary:
    """Read the campaign below `root` without locking it.

    Args:
        root: folder of the campaign.
        samples: also read what only the report shows.

    Raises:
        BadInput: there is no campaign.
    """
    layout = Layout(root)
    check_is_campaign(layout)
    config_yaml, config = read_stored_text(layout)
    planned = planned_rounds(config)
    rows = tuple(row for n in range(1, planned + 1) if (row := read_round_metrics(layout, n)))
    done = sum(map(is_over, rows)) >= planned
    stopped = read_current(layout).stopped
    running = holder(layout.lock)
    waiting = read_waiting(layout)
    entries = Ledger(layout.ledger).read()
    held_out, left_out = held_out_rows(layout, planned) if samples else ((), 0)
    return CampaignSummary(
        name=config.values["name"],
        directory=str(root),
        state="waiting" if waiting else _state(running is not None, done, stopped is not None),
        rounds_planned=planned,
        rounds=rows,
        base=_base(rows),
        samples=(*held_out, *training_rows(layout, planned)) if samples else (),
        config_yaml=config_yaml,
        settings=ShownSettings.read(config),
        doing=waiting.sentence if waiting else _doing(layout, running) + _engines(running, entries),
        retractions=tuple(standing(entries, planned)),
        outdated=() if running else _outdated(entries, rows, planned),
        cost=campaign_cost(entries, PricesConfig.model_validate(config.get("prices", {}))),
        stopped=stopped,
        rollbacks=tuple(rolled_back(entries)),
        details=read_details(layout, planned) if samples else Details(),
        samples_left_out=left_out,
        gate_looks=count_gate_looks(entries),
        stored=place.sentence(len(entries)) if (place := read_place(layout)) else "",
        failure=None if running else read_failure(layout),
        step=StepNow.read(layout.progress) if running else None,
        setup=_setup(config, entries),
    )


def _setup(config: RawConfig, entries: Sequence[Entry]) -> tuple[tuple[str, str], ...]:
    judge = config.get("judge", {})
    known = judge if isinstance(judge, dict) else {}
    model = str(config.get("policy.model") or config.get("policy.build") or "")
    values = (
        ("model", Path(model).name if model.startswith("/") else model),
        ("judge", known.get("function") or known.get("model") or known.get("kind")),
        ("loss", config.get("training.loss", "sigmoid")),
        ("β", config.get("training.beta", "by loss")),
        ("learning rate", config.get("training.learning_rate", "auto")),
        ("last step", entries[-1].at[:16].replace("T", " ") if entries else None),
    )
    return tuple((name, str(value)) for name, value in values if value not in (None, ""))


def _outdated(
    entries: Sequence[Entry], rows: Sequence[RoundMetrics], planned: int
) -> tuple[int, ...]:
    """Rounds that a retraction has made unfinished; empty as soon as a step other than the
    preferences, which follow a retraction at once, was made after it."""
    at = [place for place, entry in enumerate(entries) if entry.step == RETRACT]
    ignored = {RETRACT, KEPT, SETTLED, "preferences"}
    if not at or any(entry.step not in ignored for entry in entries[at[-1] :]):
        return ()
    finished = {entry.round for entry in entries if entry.step == "gate"}
    return tuple(sorted(n for n in finished - {row.round for row in rows} if n <= planned))


def _state(running: bool, done: bool, ended_early: bool) -> str:
    if running:
        return "running"
    return "finished" if done or ended_early else "stopped"


def _doing(layout: Layout, running: Mapping[str, object] | None) -> str:
    if running is None:
        return ""
    workers = WorkersNow.read(layout.workers)
    nodes = f"; {describe_workers(workers.workers)}" if workers and workers.workers else ""
    step = StepNow.read(layout.progress)
    if step is None:
        return f"between steps{nodes}"
    return f"{step.sentence()} (process {running['pid']} on {running['host']}{nodes})"


def _engines(running: object, entries: Sequence[Entry]) -> str:
    """How fast each of several engines was in the last step that they sampled together."""
    if not running:
        return ""
    facts = (SampledFacts.read(entry.facts) for entry in reversed(entries))
    speeds = next((f.engines for f in facts if f.engines), ())
    each = ", ".join(f"{speed.tokens_per_second:,.0f}" for speed in speeds)
    return f"; {len(speeds)} engines, last {each} tokens/s" if speeds else ""


_COMPARED = re.compile("win_rate|_change_")


def _base(rows: tuple[RoundMetrics, ...]) -> dict[str, float]:
    """Metrics of the base policy: the columns that end in _base and are not comparisons."""
    if not rows:
        return {}
    return {
        name.removesuffix("_base"): value
        for name, value in rows[-1].given().items()
        if name.endswith("_base") and not _COMPARED.search(name) and isinstance(value, int | float)
    }
