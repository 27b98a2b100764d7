"""Whether the tasks of a config can be suites, found out in a process of its own."""

from pathlib import Path
from tempfile import TemporaryDirectory

from dpo_core.children import Child
from flows.config.evaluation import HarnessSuite
from flows.harness.asked import request_for
from flows.harness.offline import ENVIRONMENT


def check_task(name: str, suite: HarnessSuite) -> int:
    """The number of documents of a suite. Raises BadInput in one sentence."""
    with TemporaryDirectory() as place:
        log = Path(place) / "harness.log"
        with Child.start("flows.harness.worker", log, ENVIRONMENT) as child:
            found = child.ask({**request_for(name, suite), "op": "check"})
    return int(found["documents"])
