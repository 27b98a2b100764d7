"""SIGKILL at any moment, then the same command: the campaign ends as if nothing had happened."""

import os
import shlex
import signal
import socket
from pathlib import Path

import pytest
from survival_runs import (
    SERVER,
    TRAINER,
    Condition,
    Run,
    after,
    assert_equal_campaigns,
    finish,
    finished_steps,
    inside_sampling,
    inside_training,
    past_a_checkpoint,
    resumed_from_step,
    rewound,
    runs,
    states,
)

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.lock import holder

# Generous: the same test takes a quarter of this on two idle cores.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SHARDS = 3  # 48 prompts, 16 to a shard


def kill_at(config: Path, campaign: Path, moment: Condition) -> None:
    """Run, SIGKILL the orchestrator at `moment`; no finished step is lost or repeated by that."""
    before = finished_steps(campaign)
    with Run(config, campaign) as run:
        run.wait_for(moment)
        assert run.end(signal.SIGKILL) == -signal.SIGKILL
        run.assert_nothing_survives()
    assert finished_steps(campaign)[: len(before)] == before


def test_a_campaign_stopped_again_and_again_ends_as_if_never_stopped(
    config: Path, reference: Path, tmp_path: Path
) -> None:
    """In every way there is, each at another moment; a second run is refused meanwhile."""
    campaign = tmp_path / "stopped"
    killed_while_locked(config, campaign, inside_sampling(1, SHARDS))
    believed = runs(campaign, "RUNNING")  # by Prefect, to be alive
    assert {"survival", "survival round 1"} <= {name for _, name in believed}
    interrupted(config, campaign, after(1, "preferences"), signal.SIGINT)
    child_killed(config, campaign, past_a_checkpoint(2), TRAINER, "training")
    finish(config, campaign)
    assert_equal_campaigns(campaign, reference)
    assert believed <= runs(campaign, "CRASHED")
    assert resumed_from_step(campaign, 2) >= 8


def killed_while_locked(config: Path, campaign: Path, moment: Condition) -> None:
    """SIGKILL of the orchestrator, after a second run was refused."""
    with Run(config, campaign) as first:
        first.wait_for(moment)
        first.process.send_signal(signal.SIGSTOP)  # or it is past the moment when that one looks
        with Run(config, campaign, prefect=False) as second:
            assert second.finish() == 2
        assert f"process {first.process.pid} on {socket.gethostname()}" in second.error
        assert first.process.poll() is None
        first.end(signal.SIGKILL)
        assert holder(Layout(campaign).lock) is None
        first.assert_nothing_survives()


def interrupted(config: Path, campaign: Path, moment: Condition, number: signal.Signals) -> None:
    with Run(config, campaign, prefect=False) as run:
        run.wait_for(moment)
        assert run.end(number) == 130, run.error
        run.assert_nothing_survives()
    assert run.error.strip().endswith(shlex.join(["ratchet", *run.arguments]))
    assert "Traceback" not in run.error


def child_killed(config: Path, campaign: Path, moment: Condition, module: str, log: str) -> None:
    """The run ends with the end of the child's log and what to do."""
    with Run(config, campaign, prefect=module == SERVER) as run:
        run.wait_for(moment)
        os.kill(run.child(module), signal.SIGKILL)
        assert run.finish() == 1, run.error
        run.assert_nothing_survives()
    assert f"the child process {module} was killed by SIGKILL" in run.error
    assert "Traceback" not in run.error
    path = campaign / "logs" / f"{log}.log"
    assert str(path) in run.error
    last_lines = path.read_text(errors="replace").splitlines()[-3:]
    assert all(line in run.error for line in last_lines)
    assert "run the same `ratchet run` again to resume" in run.error


@pytest.mark.proof
def test_runs_under_prefect_that_are_interrupted_or_lose_its_server(
    config: Path, reference: Path, tmp_path: Path
) -> None:
    campaign = rewound(reference, tmp_path / "interrupted", 0, "base")
    for number, moment in (
        (signal.SIGINT, inside_sampling(1, SHARDS)),
        (signal.SIGTERM, past_a_checkpoint(1)),
    ):
        with Run(config, campaign) as run:
            run.wait_for(moment)
            assert run.end(number) == 130, run.error
            run.assert_nothing_survives()
    child_killed(config, campaign, inside_training(2), SERVER, "prefect-server")
    finish(config, campaign)
    assert_equal_campaigns(campaign, reference)
    assert states(campaign) <= {"COMPLETED", "CRASHED", "FAILED", "CANCELLED"}


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_a_campaign_killed_at_every_step_boundary_ends_as_if_never_killed(
    config: Path, reference: Path, tmp_path: Path
) -> None:
    campaign = tmp_path / "killed"
    for number, step in finished_steps(reference)[:-1]:
        if (number, step) not in finished_steps(campaign):  # one kill may come a quick step late
            kill_at(config, campaign, after(number, step))
    finish(config, campaign)
    assert_equal_campaigns(campaign, reference)
    assert states(campaign) == {"COMPLETED", "CRASHED"}
