"""Check, in a process of its own, whether a task can be a suite."""

from pathlib import Path
from tempfile import TemporaryDirectory

from dpo_core.children import Child
from dpo_core.errors import ConfigError
from flows.config.evaluation import HarnessSuite
from flows.harness.offline import ENVIRONMENT
from flows.harness.suite_task import write_request


def check_task(name: str, suite: HarnessSuite, length: int | None) -> str:
    """A description of the suite. Raises BadInput for a task that cannot be one.

    length: the policy's context in tokens, if known.
    """
    with TemporaryDirectory() as folder:
        log = Path(folder) / "harness.log"
        with Child.start("flows.harness.worker", log, ENVIRONMENT) as child:
            checked = child.ask({**write_request(name, suite), "op": "check"})
    if length is not None and checked["max_tokens"] >= length:
        key = f"evaluation.suites.{name}"
        raise ConfigError(
            f"{key}: answers of up to {checked['max_tokens']} tokens, as {suite.harness} asks for, "
            f"leave no room for prompts in a context of {length}",
            f"Set {key}.max_tokens to {length // 2} or another number below that, or raise "
            "sampling.max_model_len.",
        )
    return f"{checked['documents']} documents of {suite.harness}, scored by {checked['score']}"
