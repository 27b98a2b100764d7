"""Whether the tasks of a config can be suites, found out in a process of its own."""

from pathlib import Path
from tempfile import TemporaryDirectory

from dpo_core.children import Child
from dpo_core.errors import ConfigError
from flows.config.evaluation import HarnessSuite
from flows.harness.task_request import write_request
from flows.harness.offline import ENVIRONMENT


def check_task(name: str, suite: HarnessSuite, length: int | None) -> str:
    """What the suite is. Raises BadInput, in one sentence, for a task that cannot be one.

    length: tokens of prompt and answer that the policy reads, where that is known.
    """
    with TemporaryDirectory() as place:
        log = Path(place) / "harness.log"
        with Child.start("flows.harness.worker", log, ENVIRONMENT) as child:
            found = child.ask({**write_request(name, suite), "op": "check"})
    if length is not None and found["max_tokens"] >= length:
        key = f"evaluation.suites.{name}"
        raise ConfigError(
            f"{key}: answers of up to {found['max_tokens']} tokens, as {suite.harness} wants them, "
            f"leave no room for prompts: prompt and answer have {length}",
            f"Set {key}.max_tokens to {length // 2} or another number below that, or raise "
            "sampling.max_model_len.",
        )
    return f"{found['documents']} documents of {suite.harness}, scored by {found['score']}"
