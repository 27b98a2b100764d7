"""Campaigns whose base policy is a GGUF file: they run, and a moved file changes nothing."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.hashing import policy_id
from labeling.audit.config import FindingName
from tests import typed
from tests.tiny_gguf import write_tiny_gguf

ROOT = Path(__file__).parents[3]
JUDGE = """
from dpo_core.records import Score

def score(completions):
    return [Score(float(sum(map(ord, c.text)) % 97)) for c in completions]
"""
CONFIG: dict[str, Any] = {
    "name": "gguf",
    "rounds": 1,
    "threads": 1,
    "policy": {"model": "tiny.gguf"},
    "sft": {"path": "warm.jsonl", "steps": 3, "batch_size": 2, "max_length": 128},
    "prompts": {"path": "prompts.jsonl", "per_round": 8},
    "sampling": {"engine": "transformers", "max_tokens": 8, "samples_per_prompt": 2},
    "judge": {"function": "judge_of_ours:score"},
    "pairs": {"strategy": "random", "truncated": "keep"},
    "audit": {"allow": list(get_args(FindingName))},  # its texts are noise
    "training": {"learning_rate": 5e-7, "pairs_per_step": 8},
    "evaluation": {"gate_prompts": 4, "test_prompts": 4, "bootstrap_resamples": 100},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user keeps the file, prompts, examples, a judge and a config."""
    folder = tmp_path_factory.mktemp("gguf")
    write_tiny_gguf(folder / "tiny.gguf")
    chats = [{"messages": [{"role": "user", "content": f"tell me of {n}"}]} for n in range(60)]
    warm = [{"prompt": f"say {n}", "completion": "the end"} for n in range(8)]
    for name, rows in (("prompts", chats), ("warm", warm)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "judge_of_ours.py").write_text(JUDGE, encoding="utf-8")
    (folder / "gguf.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    return folder


def ratchet(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return typed.ratchet(arguments, folder, env)


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ("run", "gguf.yaml", "--campaign-dir", "campaign", "--no-prefect")
    return ratchet(folder, *command, *arguments)


def test_doctor_reads_tokenizer_shape_and_template_from_the_file(folder: Path) -> None:
    looked = ratchet(folder, "doctor", "gguf.yaml", "--json")
    found = json.loads(looked.stdout)
    said = {each["check"]: each for each in found["findings"]}
    assert {name: said[name]["severity"] for name in ("eos", "length", "chat template", "bos")} == {
        name: "ok" for name in ("eos", "length", "chat template", "bos")
    }, looked.stdout
    assert found["memory_gib"] is not None


def test_a_campaign_runs_and_a_moved_file_changes_nothing(folder: Path) -> None:
    done = run(folder)
    assert done.returncode == 0, done.stderr
    layout = Layout(folder / "campaign")
    base = current_artifact(layout, 0, "base")
    assert base is not None and base.entry.inputs["model"] == policy_id(folder / "tiny.gguf")
    assert base.entry.facts["steps"] == 3  # warm-started
    gate = current_artifact(layout, 1, "gate")
    assert gate is not None
    row = json.loads(gate.path("metrics.json").read_text(encoding="utf-8"))
    counts = row["relevance_counts"]  # its prompts are chats
    assert (counts["requests"], counts["answers"]) == (8, 4)
    assert {"relevance_to_previous", "relevance_to_base"} <= {
        check["name"] for check in row["gate"]["checks"]
    }
    made = [entry.step for entry in Ledger(layout.ledger).read()]

    (folder / "tiny.gguf").rename(folder / "renamed.gguf")
    again = run(folder, "--set", "policy.model=renamed.gguf")
    assert again.returncode == 0, again.stderr
    assert [entry.step for entry in Ledger(layout.ledger).read()] == made

    replayed = ratchet(folder, "replay", "campaign", "--round", "1")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    (folder / "renamed.gguf").rename(folder / "tiny.gguf")
    gone = run(folder, "--set", "policy.model=renamed.gguf")
    assert gone.returncode == 2 and "no such file" in gone.stderr
    shown = json.loads(ratchet(folder, "status", "campaign", "--json").stdout)
    assert "relevance" in shown["base"] and "relevance_change" not in shown["base"]


def test_two_models_are_compared_where_one_is_a_file(folder: Path) -> None:
    write_tiny_gguf(folder / "other.gguf", seed=1)
    command = ("evaluate", "other.gguf", "tiny.gguf", "--prompts", "warm.jsonl", "--json")
    options = ("--judge", "judge_of_ours:score", "--engine", "transformers", "--max-tokens", "8")
    options += ("--set", "threads=1")
    done = ratchet(folder, *command, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["models"]["a"]["model"] == "other.gguf"
    assert found["comparisons"] == 8 and found["length_unit"] == "tokens"
    # Random models differ by about the spread of their logits on each of the eight tokens.
    assert found["kl"]["nats"]["estimate"] > 0
    refused = ratchet(folder, "evaluate", "warm.jsonl.gguf", *command[2:], *options)
    assert refused.returncode == 2


@pytest.mark.parametrize(
    ("name", "write", "says"),
    [
        ("nowhere.gguf", None, "policy.model: no such file"),
        ("page.gguf", lambda path: path.write_text("<html>"), "page.gguf is not a GGUF file"),
        (
            "cut.gguf",
            lambda path: path.write_bytes(write_tiny_gguf(path).read_bytes()[:-900]),
            "cut.gguf is incomplete",
        ),
        (
            "quagga.gguf",
            lambda path: write_tiny_gguf(path, architecture="quagga"),
            "quagga.gguf: GGUF model with architecture quagga is not supported",
        ),
    ],
)
def test_a_file_that_cannot_be_used_ends_with_code_2(
    folder: Path, name: str, write: Any, says: str
) -> None:
    if write is not None:
        write(folder / name)
    refused = ratchet(
        *(folder, "run", "gguf.yaml", "--campaign-dir", name.split(".")[0], "--no-prefect"),
        *("--set", f"policy.model={name}"),
    )
    assert refused.returncode == 2, refused.stderr
    assert says in refused.stderr and "Traceback" not in refused.stderr
