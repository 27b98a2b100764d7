"""What a campaign cost: of each round with all its attempts, of the rest, and of the whole."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.records import is_person
from dpo_core.text import visible
from reporting.label_gains import count_human_labels, count_labels
from reporting.number_formats import format_duration, format_number
from reporting.summary import CampaignSummary

SCOPE = "the whole campaign, with its base and all attempts"


@dataclass(frozen=True)
class CostNumbers:
    """seconds: wall time of the steps. labels: verdicts of judges and people; human: of people.
    None: it was not recorded."""

    seconds: float | None
    gpu_seconds: float | None
    cpu_seconds: float | None
    tokens_in: float | None
    tokens_out: float | None
    labels: float | None
    human: float | None
    money: float | None


def round_cost(row: RoundMetrics) -> CostNumbers:
    """Of one round, rejected attempts included."""
    by_step = (row.cost_by_step or {}).values()
    seconds = sum(step.seconds or 0.0 for step in by_step) or row.seconds_round
    return CostNumbers(
        seconds,
        row.gpu_seconds,
        row.cpu_seconds,
        row.tokens_in,
        row.tokens_out,
        count_labels(row),
        count_human_labels(row),
        row.money,
    )


def whole_cost(summary: CampaignSummary) -> CostNumbers:
    """Of the whole campaign: its base, all rounds, unfinished ones included, and all attempts.

    Without a record of it, what the finished rounds together cost.
    """
    cost = summary.cost
    if not cost.cost_by_step:
        return _sum([round_cost(row) for row in summary.rounds])
    human = [n for source, n in cost.labels_by_source.items() if is_person(source)]
    return CostNumbers(
        sum(step.seconds or 0.0 for step in cost.cost_by_step.values()),
        cost.gpu_seconds,
        cost.cpu_seconds,
        cost.tokens_in,
        cost.tokens_out,
        sum(cost.labels_by_source.values()),
        sum(human) if human else None,
        cost.money,
    )


def cost_scope(summary: CampaignSummary) -> str:
    """What `whole_cost` is of."""
    return SCOPE if summary.cost.cost_by_step else "the finished rounds"


def rest_cost(summary: CampaignSummary) -> CostNumbers | None:
    """Of what belongs to no finished round; None if nothing does."""
    if not summary.cost.cost_by_step:
        return None
    whole = asdict(whole_cost(summary))
    rounds = asdict(_sum([round_cost(row) for row in summary.rounds]))
    return CostNumbers(
        **{
            name: None if value is None else value - (rounds[name] or 0)
            for name, value in whole.items()
        }
    )


def _sum(costs: Sequence[CostNumbers]) -> CostNumbers:
    """A part that one of them did not record is not known of all, but for people's labels and
    money, which most rounds are without."""
    values = {
        field.name: [getattr(cost, field.name) for cost in costs] for field in fields(CostNumbers)
    }
    return CostNumbers(**{name: _total(name, each) for name, each in values.items()})


def _total(name: str, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    whole = len(known) == len(values) or name in ("human", "money")
    return sum(known) if known and whole else None


def list_costs(summary: CampaignSummary) -> Iterator[str]:
    """Time, tokens, labels and money of the whole campaign."""
    whole = whole_cost(summary)
    for seconds, what in (
        (whole.seconds, " of wall time"),
        (whole.gpu_seconds, " of GPU time"),
        (whole.cpu_seconds, " of CPU time"),
    ):
        if seconds:
            yield f"{format_duration(seconds)}{what}"
    if whole.tokens_out:
        yield f"{whole.tokens_out:,.0f} generated tokens"
    if any(row.labels_by_source is not None or row.judges for row in summary.rounds):
        given = whole.labels or 0
        yield f"{given:,.0f} label{'' if given == 1 else 's'} ({whole.human or 0:,.0f} human)"
    if whole.money:
        currency = visible(summary.settings.currency or "money")
        yield f"{currency} {format_number('money', whole.money)}"
