"""One of the processes that torchrun starts to train a round together.

On the campaign's machine it is connected to the training process, which ends it. On other machines
it receives the job from the first process, and torchrun ends it.
"""

import json
import os
import signal
import sys
import threading
from multiprocessing.connection import Client, Connection
from typing import TYPE_CHECKING, Unpack

from dpo_core import collector
from dpo_core.child_events import ChildEvent, describe_error
from dpo_core.children import Report, forward_notices
from dpo_core.preloaded import run_forked

if TYPE_CHECKING:
    from dpo_core.training.results import DpoResult

ADDRESS, KEY = "RATCHET_RANKS_ADDRESS", "RATCHET_RANKS_KEY"
"""Environment variables with the connection's address and its authentication key."""

STOP, END = b"stop", b"end"


def main() -> int:
    """Train. Returns the exit code."""
    if ADDRESS not in os.environ:
        return _train(None, None)
    connection = Client(f"\0{os.environ[ADDRESS]}", authkey=bytes.fromhex(os.environ[KEY]))
    job = connection.recv_bytes()
    # Watched before torch is imported: that takes seconds, and this process must not outlive the
    # campaign by that long.
    threading.Thread(target=_obey, args=(connection,), daemon=True).start()
    return _train(connection, job)


def _obey(connection: Connection) -> None:
    """Stop or end on request; end when the connection closes."""
    try:
        while connection.recv_bytes() == STOP:
            os.kill(os.getpid(), signal.SIGTERM)
    except (EOFError, OSError):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _train(connection: Connection | None, job: bytes | None) -> int:
    """job: its JSON."""

    def send(**event: Unpack[ChildEvent]) -> None:
        if connection is not None:
            connection.send_bytes(json.dumps(event).encode())

    def report(done: int, total: int, unit: str) -> None:
        if leads:
            send(event="progress", done=done, total=total, unit=unit)

    leads = os.environ["RANK"] == "0"
    forward_notices(lambda text: send(event="notice", text=text))
    try:
        result = _train_in_team(job, report)
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        send(event="error", **describe_error(error))
        return 1
    if leads:
        send(event="result", result=result.as_answer())
    send(event="done")
    return 0


def _train_in_team(job: bytes | None, report: Report) -> "DpoResult":
    collector.begin_imports()
    import torch

    from dpo_core.errors import BadInput
    from dpo_core.training.jobs import DpoJob
    from dpo_core.training.processes.team import Team
    from dpo_core.training.runtime import out_of_memory_error
    from dpo_core.training.trainer import train_round

    collector.end_imports()
    with Team.join() as team:
        job = team.gather(job)[0]
        if job is None:
            raise BadInput(
                "the first process of training has no job",
                "The campaign's machine must have --node-rank=0 in training.torchrun.",
            )
        try:
            return train_round(DpoJob.model_validate_json(job), report, team)
        except torch.OutOfMemoryError as error:
            raise out_of_memory_error(error) from error


if __name__ == "__main__":
    code = run_forked("dpo_core.training.processes.rank_worker")
    if code is None:
        code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written and reported. Threads of torch may still run, on which the interpreter's
    # shutdown would abort: a finished job would count as failed.
    os._exit(code)
