"""A step reads what it declares, and nothing else of the campaign: looked at from the kernel."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "labeling" / "judges"))
from loopback import KEY, Loopback
from opened_files import Read, reads, traced, undeclared

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from labeling.audit.checks import CHECKS

ROOT = Path(__file__).parents[3]
OLDER = Path(__file__).parents[1] / "older" / "made_before"
TIMEOUT_S = 400

JUDGES = """
import os
import subprocess
from pathlib import Path

import pyarrow.parquet as pq


def longer(completions):
    return [float(len(c.text)) for c in completions]


def shorter(completions):
    return [-float(len(c.text)) for c in completions]


def peeking(completions):
    '''Reads what its step does not declare: past Python, and in a process of its own.'''
    prompts, model = (next(Path(os.environ["CAMPAIGN"]).glob(name)) for name in PEEKED)
    pq.read_table(prompts)
    subprocess.run(["cat", str(model)], stdout=subprocess.DEVNULL, check=True)
    return longer(completions)


PEEKED = ("rounds/00/held_out-*/prompts.parquet", "rounds/00/base-*/policy/config.json")


def examples(seed):
    return [{"prompt": f"one {word}", "completion": " two three"} for word in ("two", "six")]
"""


def config(url: str) -> dict[str, Any]:
    """Every optional section of which no person and no accelerator is needed."""
    return {
        "name": "everything",
        "rounds": 2,
        "threads": 1,
        "policy": {"build": "old_model:build"},
        "sft": {"function": "watched_judges:examples", "steps": 1, "batch_size": 2},
        "prompts": {"function": "old_model:prompts", "per_round": 10},
        "sampling": {"engine": "transformers", "max_tokens": 8, "samples_per_prompt": 2},
        "judge": {
            "kind": "committee",
            "members": [
                {"function": "watched_judges:longer"},
                {"kind": "llm", "endpoint": url, "model": "m", "api_key_env": "LOOPBACK_KEY"},
            ],
        },
        "evaluation_judge": {"function": "watched_judges:shorter"},
        "pairs": {"strategy": "random", "truncated": "keep"},
        "audit": {"allow": list(CHECKS)},
        "data": {"rounds": "all"},
        "training": {
            "pairs_per_step": 4,
            "learning_rate": 1e-3,
            "lora": {"rank": 2},
            "reference": "base",
        },
        "evaluation": {
            "gate_prompts": 4,
            "test_prompts": 4,
            "bootstrap_resamples": 20,
            "opponents": "all",
            "suites": {
                name: {"prompts": "suite.jsonl", "judge": {"function": f"watched_judges:{name}"}}
                for name in ("longer", "peeking")
            },
        },
        "gate": {"use": "estimate"},
    }


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Read]]:
    """A campaign, and what was read of it while steps were made; the judge of one suite peeks."""
    if shutil.which("strace") is None:
        pytest.fail("this test needs strace; as root: apt-get install -y strace")
    folder = tmp_path_factory.mktemp("watched").resolve()
    for name in ("old_model.py", "suite.jsonl"):
        shutil.copy(OLDER / name, folder)
    (folder / "watched_judges.py").write_text(JUDGES, encoding="utf-8")
    campaign, trace = folder / "campaign", folder / "trace"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "CAMPAIGN": str(campaign)}
    with Loopback() as server:
        (folder / "everything.yaml").write_text(yaml.safe_dump(config(server.url)))
        run = [sys.executable, "-m", "flows.cli", "run", "everything.yaml", "--no-prefect"]
        done = traced(
            [*run, "--campaign-dir", str(campaign)],
            trace,
            cwd=folder,
            env={**environment, "LOOPBACK_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    assert done.returncode == 0, done.stderr + done.stdout
    return campaign, list(reads(trace, campaign))


def test_every_kind_of_step_was_watched(watched: tuple[Path, list[Read]]) -> None:
    campaign, found = watched
    made = {entry.step for entry in Ledger(Layout(campaign).ledger).read()}
    assert {"base", "scores", "judgements", "data", "audit", "suite_longer", "gate"} <= made
    # The first step draws from the user's prompts alone.
    assert {read.step for read in found} == made - {"held_out"}
    assert {".parquet", ".safetensors", ".json"} <= {Path(read.file).suffix for read in found}


def test_no_step_reads_what_it_does_not_declare(watched: tuple[Path, list[Read]]) -> None:
    """But for the judge that peeks, which shows that such a read is seen: from Arrow's C++, and
    from a child."""
    campaign, found = watched
    [prompts] = campaign.glob("rounds/00/held_out-*/prompts.parquet")
    [model] = campaign.glob("rounds/00/base-*/policy/config.json")
    assert undeclared(found, campaign) == {
        Read(number, "suite_peeking_scores", str(peeked.relative_to(campaign)))
        for number in (0, 1, 2)
        for peeked in (prompts, model)
    }
