"""Engines side by side on real vLLM: the same files for any number of them, through kills."""

import os
import signal
import threading
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from small_campaign import CONFIG

from dpo_core.campaign.layout import SHARDS
from dpo_core.errors import ChildDied
from dpo_core.hashing import file_sha256, policy_id
from dpo_core.records import Prompt, prompt_id, prompt_row
from dpo_core.schemas import PROMPTS
from dpo_core.tables import count_rows, iterate_rows, write_rows
from examples.reviews.grammar import WORDS
from examples.reviews.model import build
from flows.compute.shards import ShardedJob
from flows.config import CampaignConfig
from flows.session import Session
from generation.jobs import SampleJob, ScoreJob
from reporting.progress import CampaignProgress
from tests.made_once import made_once

PROMPT_COUNT, SHARD = 24, 2
SHARED = " ".join((WORDS * 40)[:40])
"""What all prompts begin with: longer than a block of vLLM's prefix cache."""


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a policy 256 wide and prompts that share their beginning."""
    return made_once(tmp_path_factory, "asked", write_what_is_asked)


def write_what_is_asked(folder: Path) -> None:
    build(folder / "policy", seed=1, hidden_size=256, layers=2)
    texts = [f"{SHARED} {' '.join((WORDS * 9)[n : n + 5])}" for n in range(PROMPT_COUNT)]
    prompts = (Prompt(prompt_id(text, None), text=text) for text in texts)
    write_rows(folder / "prompts.parquet", map(prompt_row, prompts), PROMPTS)


def opened(root: Path, workers: int) -> Session:
    sampling = {"max_tokens": 24, "max_model_len": 96, "shard_prompts": SHARD}
    raw = {**CONFIG, "sampling": sampling, "compute": {"sampling_workers": workers}}
    shown = CampaignProgress(Console(file=StringIO()), rounds=1)
    return Session.open(root, CampaignConfig.model_validate(raw), shown)


def sample_job(session: Session, asked: Path, out: Path) -> SampleJob:
    return SampleJob(
        policy=asked / "policy",
        policy_id=policy_id(asked / "policy"),
        config=session.config.sampling,
        source=asked / "prompts.parquet",
        out=out,
        samples_per_prompt=2,
        seed=5,
    )


@pytest.fixture(scope="session")
def by_one(asked: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Completions and their log-probs, by one engine."""
    folder = made_once(tmp_path_factory, "by-one", lambda made: sample_and_score(asked, made, 1))
    return sampled_and_scored(folder)


def sampled_and_scored(folder: Path) -> tuple[Path, Path]:
    return folder / "completions.parquet", folder / "logps.parquet"


def sample_and_score(asked: Path, folder: Path, workers: int) -> tuple[Path, Path]:
    out, logps = sampled_and_scored(folder)
    with opened(folder, workers) as session:
        result = session.sample(sample_job(session, asked, out))
        sampling = session.config.sampling
        job = ScoreJob(policy=asked / "policy", config=sampling, source=out, out=logps)
        session.sample(job)
    assert result.completions == count_rows(out) == 2 * PROMPT_COUNT
    assert result.tokens == sum(len(row["token_ids"]) for row in iterate_rows(out))
    assert len(result.engines) == (0 if workers == 1 else workers)
    assert not {"nodes", "workers", "attempts"} & set(result.as_json())  # of clusters alone
    assert workers == 1 or sum(each.tokens for each in result.engines) == result.tokens
    assert not shards(folder)
    return out, logps


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.proof)])
def test_files_are_the_same_for_any_number_of_engines(
    asked: Path, by_one: tuple[Path, Path], tmp_path: Path, workers: int
) -> None:
    made = sample_and_score(asked, tmp_path, workers)
    assert list(map(file_sha256, made)) == list(map(file_sha256, by_one))


def test_finished_shards_outlive_the_loss_of_an_engine(
    asked: Path, by_one: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"

    def kill_one_after_two_shards(session: Session) -> None:
        while len(shards(tmp_path)) < 2:
            time.sleep(0.001)
        engine = session.processes.running("sampling")
        assert engine is not None
        os.killpg(engine.process.pid, signal.SIGKILL)

    with opened(tmp_path / "1", 2) as session:
        killer = threading.Thread(target=kill_one_after_two_shards, args=[session])
        killer.start()
        with pytest.raises(ChildDied, match="SIGKILL"):
            session.sample(sample_job(session, asked, out))
        killer.join()
    kept = len(shards(tmp_path))
    assert kept >= 2 and not out.exists()
    with opened(tmp_path / "2", 1) as session:
        job = sample_job(session, asked, out)
        sharded = ShardedJob.of(job)
        assert len(sharded.missing()) == len(sharded.shards) - kept
        session.sample(job)
    assert file_sha256(out) == file_sha256(by_one[0])


def shards(folder: Path) -> list[Path]:
    """Records of finished shards."""
    return list(folder.glob(f"{SHARDS}/*/*.json"))
