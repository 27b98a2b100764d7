"""What `ratchet run` refuses or gives up with a message, and that doing what it says works."""

import json
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from survival_runs import (
    Run,
    after,
    assert_equal_artifacts,
    assert_equal_campaigns,
    finish,
    finished_steps,
    inside_sampling,
    inside_training,
    ledger,
    past_a_checkpoint,
    resumed_from_step,
    rewound,
    states,
)

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.lock import holder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

LAST = (2, "gate")
SHARDS = 3
TERMINAL = {"COMPLETED", "CRASHED", "FAILED", "CANCELLED"}


def test_a_second_run_is_refused_until_the_first_is_gone(config: Path, tmp_path: Path) -> None:
    campaign = tmp_path / "locked"
    lock = Layout(campaign).lock
    with Run(config, campaign, prefect=False) as first:
        first.wait_for(lambda _: any(Layout(campaign).round(0).glob(".base-*.partial")))
        with Run(config, campaign, prefect=False) as second:
            assert second.finish() == 2
        assert f"process {first.process.pid} on {socket.gethostname()}" in second.error
        assert first.process.poll() is None
        first.wait_for(after(0, "base"))
        first.end(signal.SIGKILL)
        assert holder(lock) is None
        with Run(config, campaign, prefect=False) as third:
            third.wait_for(lambda _: (holder(lock) or {}).get("pid") == third.process.pid)
        first.assert_nothing_survives()
    assert finished_steps(campaign)[:2] == [(0, "held_out"), (0, "base")]


def test_interrupts_end_everything_and_say_how_to_continue(
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
        assert run.error.strip().endswith(shlex.join(["ratchet", *run.arguments]))
        assert "Traceback" not in run.error
    finish(config, campaign)
    assert_equal_campaigns(campaign, reference)
    assert resumed_from_step(campaign, 1) >= 8
    assert states(campaign) <= TERMINAL


def test_a_torn_last_line_of_the_ledger_is_tolerated(
    config: Path, reference: Path, tmp_path: Path
) -> None:
    campaign = rewound(reference, tmp_path / "torn", *LAST)
    path = Layout(campaign).ledger
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    finish(config, campaign, prefect=False)
    assert path.read_bytes() == whole
    assert_equal_campaigns(campaign, reference)


def test_a_corrupted_artifact_is_named_and_the_remedy_works(
    config: Path, reference: Path, tmp_path: Path
) -> None:
    campaign = rewound(reference, tmp_path / "corrupted", *LAST)
    current = json.loads(Layout(campaign).current.read_text())["rounds"]
    step = Layout(campaign).round(1) / current["01"]["completions"]
    path = step / "completions.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    with Run(config, campaign, prefect=False) as run:
        assert run.finish() == 1
    assert f"{path} is not what the ledger recorded" in run.error
    remedy = re.search(r"\((mv .*)\)", run.error)
    assert remedy
    subprocess.run(remedy[1], shell=True, check=True)

    finish(config, campaign, prefect=False)
    assert_equal_artifacts(campaign, reference)
    assert finished_steps(campaign) == [*finished_steps(reference), (1, "completions")]


@pytest.fixture
def small_disk() -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    """(folder, fill, free): a small disk where one may be mounted, else a limit on file sizes."""
    # Not below tmp_path: if this process is killed, a mount there fails pytest's later clean-ups.
    folder = Path(tempfile.mkdtemp(prefix="ratchet-small-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
        ballast = folder / "ballast"

        def fill() -> None:
            ballast.write_bytes(bytes(shutil.disk_usage(folder).free - _ROOM))

        try:
            yield folder, fill, ballast.unlink
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    else:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)

        def limit(size: int) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

        try:
            yield folder, lambda: limit(_ROOM), lambda: limit(before[0])
        finally:
            limit(before[0])
    shutil.rmtree(folder)


_ROOM = 256 * 1024
"""Bytes left on a full disk: enough for every file but the weights (about 800 KB)."""


def test_a_full_disk_is_named_and_nothing_is_lost(
    config: Path,
    reference: Path,
    small_disk: tuple[Path, Callable[[], None], Callable[[], None]],
) -> None:
    folder, fill, free = small_disk
    campaign = rewound(reference, folder / "full", 1, "audit")
    before = ledger(campaign)
    with Run(config, campaign, prefect=False) as run:
        run.wait_for(inside_training(1))
        fill()
        assert run.finish() == 1, run.error
        run.assert_nothing_survives()
    assert f"no room left to write below {campaign}" in run.error
    assert "Free some space and type the same `ratchet run` again" in run.error
    assert "Traceback" not in run.error
    assert ledger(campaign) == before
    free()
    finish(config, campaign, prefect=False)
    assert_equal_campaigns(campaign, reference)
