"""The process that carries out one flow run, and ends with it.

It is a child of the worker (dpo_core.children), which Prefect's own runner would not make it: that
one leaves its processes behind when it is killed. Running this module serves.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from dpo_core.children import Report, serve
from dpo_core.errors import RatchetError

SUSPENDED = "Suspended"


def _handle(request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """{"state", "message"}: how the flow run ended."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import Abort, Pause
    from prefect.flow_engine import run_flow

    from flows.prefect_runs import flush, own_server
    from flows.worker.flow import campaign

    with own_server(request["api"]), get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(request["run"]))
        try:
            run_flow(campaign, flow_run=run, return_type="result")
        except Pause:
            return {"state": SUSPENDED, "message": ""}
        except Abort as error:
            return {"state": "Aborted", "message": str(error)}
        except RatchetError as error:
            return {"state": "Failed", "message": error.shown()}
        finally:
            flush()
    return {"state": "Completed", "message": ""}


if __name__ == "__main__":
    serve(_handle)
