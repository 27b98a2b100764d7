"""SIGKILL at any moment, then the same command: the campaign ends as if nothing had happened."""

import os
import signal
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

# Generous: the same test takes a quarter of this on two idle cores.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SHARDS = 3  # 48 prompts, 16 to a shard

MOMENTS: dict[str, Condition] = {
    "inside sampling": inside_sampling(1, SHARDS),
    "after the preferences": after(1, "preferences"),
    "inside training": inside_training(1),
    "past a checkpoint": past_a_checkpoint(2),
}


def kill_at(config: Path, campaign: Path, moment: Condition) -> None:
    """Run, SIGKILL the orchestrator at `moment`; no finished step is lost or repeated by that."""
    before = finished_steps(campaign)
    with Run(config, campaign) as run:
        run.wait_for(moment)
        assert run.end(signal.SIGKILL) == -signal.SIGKILL
        run.assert_nothing_survives()
    assert finished_steps(campaign)[: len(before)] == before


def test_a_campaign_killed_again_and_again_ends_as_if_never_killed(
    config: Path, reference: Path, tmp_path: Path
) -> None:
    campaign = tmp_path / "killed"
    believed: set[tuple[str, str]] = set()  # by Prefect, to be alive
    for name, moment in MOMENTS.items():
        assert not moment(campaign), f"{name}: nothing would be interrupted"
        kill_at(config, campaign, moment)
        believed |= runs(campaign, "RUNNING")
    assert {"survival", "survival round 1", "survival round 2"} <= {name for _, name in believed}
    finish(config, campaign)
    assert_equal_campaigns(campaign, reference)
    assert believed <= runs(campaign, "CRASHED")
    assert states(campaign) == {"COMPLETED", "CRASHED"}
    assert resumed_from_step(campaign, 2) >= 8


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


def test_a_killed_child_ends_the_run_with_its_log_and_what_to_do(
    config: Path, reference: Path, tmp_path: Path
) -> None:
    campaign = rewound(reference, tmp_path / "child", 0, "base")
    cases = [
        (TRAINER, "training", inside_training(1), False),
        (SERVER, "prefect-server", inside_training(2), True),
    ]
    for module, log, moment, prefect in cases:
        with Run(config, campaign, prefect=prefect) as run:
            run.wait_for(moment)
            os.kill(run.child(module), signal.SIGKILL)
            assert run.finish() == 1, run.error
            run.assert_nothing_survives()
        assert f"the child process {module} was ended by SIGKILL" in run.error
        assert "Traceback" not in run.error
        path = campaign / "logs" / f"{log}.log"
        assert str(path) in run.error
        last_lines = path.read_text(errors="replace").splitlines()[-3:]
        assert all(line in run.error for line in last_lines)
        assert "the same `ratchet run` continues" in run.error
    finish(config, campaign)
    assert_equal_campaigns(campaign, reference)
