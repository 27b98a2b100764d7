"""Many requests to one process with lm-evaluation-harness, also after one that it refuses."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpo_core.jobs import JobRequest, read_request
from flows.harness.offline import ENVIRONMENT


def answered(requests: Sequence[JobRequest], folder: Path) -> list[dict[str, Any]]:
    """For each request of a job its result, or `error` and `remedy`."""
    asked, out = folder / "asked.json", folder / "answered.json"
    asked.write_text(json.dumps(list(requests)))
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": path}
    command = [sys.executable, __file__, str(asked), str(out)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


def _one(request: JobRequest) -> dict[str, Any]:
    from dpo_core.errors import BadInput
    from flows.harness.suite_task import JOBS
    from flows.harness.worker import carry_out

    try:
        return carry_out(read_request(request, JOBS), lambda *_: None).as_json()
    except BadInput as error:
        return {"error": error.message, "remedy": error.remedy}


if __name__ == "__main__":
    requests = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps([_one(request) for request in requests]))
