"""A user's folder with a model of a thousand weights, its prompts and a judge, and `ratchet` run in
it: the files of the campaign that an older version made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import typed

ROOT = Path(__file__).parents[2]
MADE_BEFORE = Path(__file__).parent / "older" / "made_before"
TIMEOUT_S = 400
TINY: dict[str, Any] = {
    "threads": 1,
    "policy": {"build": "old_model:build"},
    "prompts": {"function": "tiny_prompts:prompts", "per_round": 10},
    "sampling": {"engine": "transformers", "max_tokens": 8, "samples_per_prompt": 2},
    "judge": {"function": "old_judge:score"},
    "pairs": {"strategy": "random", "truncated": "keep"},
    "training": {"pairs_per_step": 4},
    "evaluation": {"gate_prompts": 4, "test_prompts": 4, "bootstrap_resamples": 20},
}
"""Of campaigns in which it matters what is read, and not what is learnt."""
PROMPTS = """
def prompts():
    numbers = ("one", "two", "three", "four", "five", "six")
    for first in numbers:
        for second in numbers:
            for third in numbers:
                yield {"prompt": f"{first} {second} and {third}", "tags": [first]}
"""
"""In a module without the model: `ratchet` imports it, and would wait for torch each time."""


def user_folder(folder: Path) -> Path:
    """`folder`, with what a config like TINY names."""
    for file in MADE_BEFORE.iterdir():
        if file.suffix in (".py", ".jsonl"):
            shutil.copy(file, folder)
    (folder / "tiny_prompts.py").write_text(PROMPTS, encoding="utf-8")
    return folder


def command(*arguments: str) -> list[str]:
    """`ratchet run` into the folder `campaign` of the user's folder, where it is to be started."""
    return [sys.executable, "-m", "flows.cli", *_run(arguments)]


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """It, run to its end."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return typed.ratchet(_run(arguments), folder, env)


def _run(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return ("run", *arguments, "--campaign-dir", "campaign", "--no-prefect")
