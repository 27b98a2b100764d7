"""What `ratchet run` refuses or gives up with a message, and that doing what it says works."""

import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from survival_runs import (
    Run,
    assert_equal_artifacts,
    assert_equal_campaigns,
    finish,
    finished_steps,
    inside_training,
    ledger,
    rewound,
)

from dpo_core.campaign.layout import Layout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

LAST = (2, "gate")


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


@pytest.mark.proof
def test_a_full_disk_is_named_and_nothing_is_lost(
    config: Path,
    reference: Path,
    small_disk: tuple[Path, Callable[[], None], Callable[[], None]],
) -> None:
    folder, fill, free = small_disk
    campaign = rewound(reference, folder / "full", 2, "audit")
    before = ledger(campaign)
    with Run(config, campaign, prefect=False) as run:
        run.wait_for(inside_training(2))
        fill()
        assert run.finish() == 1, run.error
        run.assert_nothing_survives()
    assert f"no space left on the disk of {campaign}" in run.error
    assert "Free some space and run the same `ratchet run` again" in run.error
    assert "Traceback" not in run.error
    assert ledger(campaign) == before
    free()
    finish(config, campaign, prefect=False)
    assert_equal_campaigns(campaign, reference)
