"""One session under two configs: what they share, and what a changed section starts anew."""

from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from small_campaign import CONFIG, Campaign

from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.store import Recipe, Store
from dpo_core.children import Child
from dpo_core.errors import ArtifactCorrupted, ChildFailed
from dpo_core.training.jobs import AverageJob
from dpo_core.training.results import AverageResult
from flows.compute.processes import check_weights
from flows.config import CampaignConfig
from flows.session import Session
from generation.jobs import ScoreJob
from reporting.progress import CampaignProgress


def test_a_session_under_another_config_keeps_its_store_and_its_processes(
    finished: Campaign, tmp_path: Path
) -> None:
    raw = yaml.safe_load(finished.layout.config.read_text())
    config = CampaignConfig.model_validate(raw)
    gentler = CampaignConfig.model_validate(
        {**raw, "threads": "auto", "training": {**CONFIG["training"], "beta": 2.0}}
    )
    cooler = gentler.model_copy(
        update={"sampling": gentler.sampling.model_copy(update={"temperature": 0.5})}
    )
    shown = CampaignProgress(Console(file=StringIO()), rounds=1)
    with Session.open(tmp_path, config, shown) as session:
        view = session.with_config(gentler)
        assert view.config.training.beta == 2.0
        assert session.config.training.beta == CONFIG["training"]["beta"]
        assert view.config.threads == 1, "threads are the campaign's"
        assert view.store is session.store

        first = _asked(view, finished, tmp_path / "1.parquet")
        assert _asked(session, finished, tmp_path / "2.parquet") is first
        second = _asked(view.with_config(cooler), finished, tmp_path / "3.parquet")
        assert second is not first and not first.alive(), "its engine has another config"
    assert not second.alive(), "the session ends what its views started"


def test_after_a_failed_request_the_next_one_meets_a_fresh_process(
    finished: Campaign, tmp_path: Path
) -> None:
    raw = yaml.safe_load(finished.layout.config.read_text())
    shown = CampaignProgress(Console(file=StringIO()), rounds=1)
    with Session.open(tmp_path, CampaignConfig.model_validate(raw), shown) as session:
        policy = finished.artifact(0, "base").path("policy")
        failed = _asked(session, finished, tmp_path / "first.parquet")
        prompts = finished.artifact(0, "held_out").path("prompts.parquet")
        no_answers = ScoreJob(
            policy=policy, config=session.config.sampling, source=prompts, out=tmp_path / "none"
        )
        with pytest.raises(ChildFailed):
            session.sample(no_answers)
        assert not failed.alive() and session.processes.running("sampling") is None
        fresh = _asked(session, finished, tmp_path / "logps.parquet")
        assert fresh is not failed
        assert _asked(session, finished, tmp_path / "again.parquet") is fresh


def test_one_process_trains_round_after_round_where_no_gpu_must_be_given_back(
    finished: Campaign, tmp_path: Path
) -> None:
    raw = yaml.safe_load(finished.layout.config.read_text())
    config = CampaignConfig.model_validate(raw)
    by_step = config.model_copy(
        update={"sampling": config.sampling.model_copy(update={"keep_worker": "step"})}
    )
    shown = CampaignProgress(Console(file=StringIO()), rounds=1)
    with Session.open(tmp_path, config, shown) as session:
        assert _averaged(session, finished, tmp_path / "1").seconds_start > 0
        kept = session.processes.running("training")
        assert _averaged(session, finished, tmp_path / "2").seconds_start == 0
        assert kept is not None and session.processes.running("training") is kept
        nowhere = tmp_path / "nowhere"
        with pytest.raises(ChildFailed):
            session.train(AverageJob(from_dir=nowhere, to_dir=nowhere, out_dir=nowhere, rate=0.5))
        assert not kept.alive()
        _averaged(session.with_config(by_step), finished, tmp_path / "3")
        assert session.processes.running("training") is None
    weights = {(tmp_path / n / "model.safetensors").read_bytes() for n in "123"}
    assert len(weights) == 1, "the second job of a process is as the first of another"


def _averaged(session: Session, campaign: Campaign, out: Path) -> AverageResult:
    """What a short job of the training process came to."""
    ends = (campaign.artifact(0, "base"), campaign.artifact(1, "training"))
    before, after = (end.path("policy") for end in ends)
    keep = session.config.sampling.keep_worker
    job = AverageJob(from_dir=before, to_dir=after, out_dir=out, rate=0.5, keep_worker=keep)
    return session.train(job)


def _asked(session: Session, campaign: Campaign, out: Path) -> Child:
    """The sampling process that answered."""
    base = campaign.artifact(0, "base")
    job = ScoreJob(
        policy=base.path("policy"),
        config=session.config.sampling,
        source=campaign.artifact(0, "answers").path("completions.parquet"),
        out=out,
    )
    session.sample(job)
    child = session.processes.running("sampling")
    assert child is not None
    return child


def test_weights_are_looked_at_before_a_process_reads_them(tmp_path: Path) -> None:
    def make(folder: Path) -> StepResult:
        (folder / "policy").mkdir()
        (folder / "policy" / "model.safetensors").write_bytes(b"weights")
        return StepResult()

    made = Store(tmp_path, 1).run(Recipe(1, "training", {}), make)
    policy = made.path("policy")
    check_weights(policy)
    (policy / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(ArtifactCorrupted, match=r"model\.safetensors is not what the ledger"):
        check_weights(policy)
    check_weights(tmp_path)  # made by no step: `ratchet evaluate` compares any two models
    with pytest.raises(ArtifactCorrupted, match="are gone"):
        check_weights(tmp_path / "nowhere")
