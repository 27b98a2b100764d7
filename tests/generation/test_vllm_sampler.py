"""Our sampler on CPU against vLLM's own, on a vocabulary so large that it takes rows in parts."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dpo_core import preloaded

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def drawn() -> dict[str, tuple[list[Any], list[Any]]]:
    """By case what vLLM's sampler draws and what ours does; in a process that may import vLLM."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TORCHDYNAMO_DISABLE": "1"}
    script = ["tests.generation.compare_samplers"]
    socket = os.environ.get(preloaded.SOCKET)
    done = preloaded.run_command(socket, script, env, ROOT, TIMEOUT_S)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, tuple[list[Any], list[Any]]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "case", ["plain", "bfloat16", "temperature", "top_p", "no log-probs", "greedy"]
)
def test_draws_and_records_what_vllm_does(
    drawn: dict[str, tuple[list[Any], list[Any]]], case: str
) -> None:
    theirs, ours = drawn[case]
    assert ours == theirs
    first, second = (theirs[0], theirs[3]) if len(theirs) == 6 else theirs
    assert first != second, "a second step has other logits and other noise"
