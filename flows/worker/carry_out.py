"""The child process that carries out one flow run.

A child of the worker (dpo_core.children) ends with it; processes of Prefect's own runner outlive a
killed runner. Running this module serves jobs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from dpo_core.campaign.layout import Layout
from dpo_core.children import Report, serve_jobs
from dpo_core.errors import BadInput, ConfigError, RatchetError
from dpo_core.jobs import ChildJob, JobResult, job_kinds

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

REFUSED = "Refused"
"""How a run ends that names something that was not submitted."""

_SERVER_ERROR = 500


class RunEnded(JobResult):
    """The state in which a flow run ended, and its message."""

    state: str = ""
    message: str = ""


class RunJob(ChildJob[RunEnded]):
    """Carry out a flow run of the Prefect server at `api`.

    Refuses what was not submitted to the worker in the folder `worker`; `allow_env`: variables that
    its owner opened to all runs.
    """

    op: Literal["run"] = "run"
    run: UUID
    api: str
    worker: Path
    allow_env: Sequence[str]


def _carry_out(job: RunJob, report: Report) -> RunEnded:
    from prefect.client.orchestration import get_client
    from prefect.states import Failed

    from flows.prefect.runs import own_server
    from flows.worker.registry import Registry
    from flows.worker.runs import Order

    registry = Registry(Layout(job.worker), job.allow_env)
    with own_server(job.api), get_client(sync_client=True) as client:
        run = client.read_flow_run(job.run)
        try:
            registry.admit(Order.read(run.parameters))
        except BadInput as error:
            client.set_flow_run_state(run.id, Failed(message=str(error)), force=True)
            state = "Failed" if isinstance(error, ConfigError) else REFUSED
            return RunEnded(state=state, message=str(error))
        return _run(client, run)


def _run(client: "SyncPrefectClient", run: "FlowRun") -> RunEnded:
    from prefect.exceptions import Abort, Pause
    from prefect.flow_engine import run_flow

    from flows.prefect.runs import flush
    from flows.worker.flow import campaign

    try:
        run_flow(campaign, flow_run=run, return_type="result")
    except Pause:
        return RunEnded(state="Suspended", message=_waits_for(client.read_flow_run(run.id)))
    except Abort as error:
        return RunEnded(state="Aborted", message=str(error))
    except Exception as error:
        if _unreachable(error):
            return RunEnded(state="Unreachable", message="it resumes when Prefect answers again")
        ended = client.read_flow_run(run.id).state
        if ended is None or not ended.is_final():
            raise
        message = str(error) if isinstance(error, RatchetError) else repr(error)
        return RunEnded(state=ended.name or "", message=message)
    finally:
        flush()
    ended = client.read_flow_run(run.id).state
    return RunEnded(state=ended.name or "", message=ended.message or "") if ended else RunEnded()


def _unreachable(error: BaseException | None) -> bool:
    """Whether an unreachable or failing Prefect server caused the error."""
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

    while error is not None:
        status = error.response.status_code if isinstance(error, PrefectHTTPStatusError) else 0
        if isinstance(error, httpx.TransportError) or status >= _SERVER_ERROR:
            return True
        error = error.__cause__ or error.__context__
    return False


def _waits_for(run: "FlowRun") -> str:
    from dpo_core.campaign.waiting import read_waiting
    from flows.prefect.runs import tagged_campaign

    layout = tagged_campaign(run.tags)
    waiting = read_waiting(layout) if layout is not None else None
    return waiting.sentence if waiting is not None else ""


if __name__ == "__main__":
    serve_jobs(job_kinds(RunJob), _carry_out)
