"""Which rounds a run is for, and which of the runs that are due may start."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, uuid4, uuid5

import pytest
from prefect.client.schemas.objects import FlowRun, StateDetails
from prefect.client.schemas.responses import FlowRunResponse
from prefect.states import Running, Scheduled, Suspended

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from flows.config import CampaignConfig
from flows.prefect.runs import campaign_tag
from flows.worker.due_runs import BY_HAND, paused_by_hand, sort_due_runs
from flows.worker.runs import RoundRange, plan_rounds
from flows.worker.schedules import next_times, parse_cron

CONFIG = CampaignConfig.model_validate(
    {
        "name": "tiny",
        "rounds": 5,
        "schedule": {"rounds": 2},
        "policy": {"model": "none"},
        "prompts": {"path": "prompts.jsonl"},
        "judge": {"function": "m:f"},
    }
)
NOW = datetime.now(UTC)
FLOW = uuid4()


def due(
    campaign: str, minutes_ago: int, *, state: str = "Scheduled", auto: bool = True
) -> FlowRunResponse:
    at = NOW - timedelta(minutes=minutes_ago)
    return FlowRunResponse(
        id=uuid4(),
        flow_id=FLOW,
        deployment_id=uuid5(NAMESPACE_URL, campaign),
        name=f"{campaign} {minutes_ago}",
        tags=[campaign_tag(Layout(Path(campaign)))],
        state_name=state,
        state=Scheduled(scheduled_time=at),
        expected_start_time=at,
        auto_scheduled=auto,
        work_pool_id=None,
    )


def test_ticks_that_nobody_carried_out_are_one() -> None:
    missed, last = due("a", 9), due("a", 2)
    (first, why), (second, go) = sort_due_runs([missed, last], [])
    assert (first, second, go) == (missed, last, None)
    assert why is not None and why.startswith("nothing to do: no worker ran at this tick")


def test_a_second_run_of_a_campaign_is_refused_and_other_campaigns_are_not() -> None:
    begun = FlowRun(
        flow_id=FLOW,
        name="a round 3",
        tags=[campaign_tag(Layout(Path("a")))],
        state=Running(),
        state_name="Running",
    )
    tick, by_hand, other = due("a", 1), due("a", 0, auto=False), due("b", 1)
    found = {run.name: why for run, why in sort_due_runs([tick, by_hand, other], [begun])}
    refused = "nothing to do: the campaign already has the run a round 3"
    assert str(found[tick.name]).startswith(refused)
    assert str(found[by_hand.name]).startswith(refused)
    assert found[other.name] is None


def test_a_run_that_goes_on_comes_before_a_tick_and_is_never_ended_undone() -> None:
    resumed, tick = due("a", 0, state="Resuming"), due("a", 5)
    found = sort_due_runs([tick, resumed], [])
    assert [(run, why is None) for run, why in found] == [(resumed, True), (tick, False)]
    assert sort_due_runs([resumed], [due("a", 1)]) == []  # it waits until the other is over


def test_who_paused_a_run() -> None:
    def paused(key: str | None) -> FlowRun:
        return FlowRun(flow_id=FLOW, state=Suspended(pause_key=key))

    assert paused_by_hand(paused(None))
    assert paused_by_hand(paused(BY_HAND))
    assert not paused_by_hand(paused(uuid4().hex))
    assert StateDetails().pause_key is None  # what Prefect's pages send


def test_a_tick_keeps_its_rounds_when_it_goes_on() -> None:
    begun = plan_rounds("append", None, CONFIG, 3, [])
    assert begun == RoundRange("append", 4, 5)
    assert (begun.tag, begun.label) == ("rounds:4-5", "rounds 4-5")
    # Round 4 is finished when people have answered; the tick was for 4 and 5, not for 5 and 6.
    assert plan_rounds("append", None, CONFIG, 4, ["auto-scheduled", begun.tag]) == begun
    assert plan_rounds("append", 1, CONFIG, 3, []) == RoundRange("append", 4, 4)
    assert plan_rounds("up_to", None, CONFIG, 3, [begun.tag]) == RoundRange("up_to", 4, 5)
    assert plan_rounds("up_to", 3, CONFIG, 3, []) == RoundRange("up_to", 3, 3)


def test_a_cron_line_and_a_timezone_are_checked() -> None:
    assert parse_cron("0 2 * * 1", None).timezone == "UTC"
    (leap,) = next_times(parse_cron("0 2 29 2 *", None), 1)
    assert (leap.month, leap.day, leap.year % 4) == (2, 29, 0)
    # Two years of midnights: on four of the days the clocks change.
    midnights = next_times(parse_cron("0 0 * * *", "Europe/Berlin"), 730)
    assert {(tick.hour, tick.minute) for tick in midnights} == {(0, 0)}
    assert len({tick.date() for tick in midnights}) == 730
    two = next_times(parse_cron("0 2 * * 1", "Europe/Berlin"), 2)
    assert [(tick.weekday(), tick.hour, tick.minute) for tick in two] == [(0, 2, 0)] * 2
    for never in ("0 2 30 2 *", "0 2 31 4,6 *"):
        with pytest.raises(BadInput, match="never occurs"):
            parse_cron(never, None)
    for cron in ("", "nonsense", "61 * * * *", "* * *"):
        with pytest.raises(BadInput, match="is not a cron line"):
            parse_cron(cron, None)
    for timezone in ("Europe/Berln", "../etc/passwd", "Berlin"):
        with pytest.raises(BadInput, match="is not a timezone"):
            parse_cron("0 2 * * 1", timezone)
