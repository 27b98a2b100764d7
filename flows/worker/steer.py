"""`ratchet pause`, `resume` and `cancel`: what a person does to a campaign's run at the worker."""

from pathlib import Path
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelling, Scheduled, Suspended

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from flows.prefect.runs import client_of
from flows.worker.due_runs import BY_HAND, RESUMING, paused_by_hand
from flows.worker.runs import BEGUN, find_campaign_runs

Wish = Literal["pause", "resume", "cancel"]

_DUE = (StateType.SCHEDULED, StateType.PENDING)


def steer_run(api: str, root: Path, wish: Wish) -> str | None:
    """Change the campaign's run, which the worker then acts on; returns a sentence about it, or
    None where it is to be resumed and has no paused run.

    Raises BadInput where it has no run to pause or cancel.
    """
    layout = Layout(root.resolve())
    with client_of(api) as client:
        runs = find_campaign_runs(client, layout, (*BEGUN, *_DUE))
        if wish == "resume":
            return _resume(client, [run for run in runs if _is_paused(run)])
        active = [run for run in runs if not _is_paused(run) or wish == "cancel"]
        if not active:
            raise _no_run(root)
        run = active[0]
        if wish == "pause":
            state: State[Any] = Suspended(pause_key=BY_HAND, message="paused by a person")
            client.set_flow_run_state(run.id, state, force=True)
            return f"{run.name} pauses; finished steps are kept: `ratchet resume {root}`"
        client.set_flow_run_state(run.id, Cancelling(), force=True)
        return f"{run.name} is cancelled; finished steps are kept"


def _resume(client: SyncPrefectClient, paused: list[FlowRun]) -> str | None:
    if not paused:
        return None
    client.set_flow_run_state(paused[0].id, Scheduled(name=RESUMING), force=True)
    return f"{paused[0].name} resumes"


def _is_paused(run: FlowRun) -> bool:
    return run.state_type == StateType.PAUSED and paused_by_hand(run)


def _no_run(root: Path) -> BadInput:
    return BadInput(
        f"{root} has no run at this worker",
        "A `ratchet run` in a terminal is stopped with Ctrl-C there; finished steps are kept.",
    )
