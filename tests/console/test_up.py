"""`ratchet up` and `ratchet ui`: one address, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from shown_console import campaign

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.waiting import Waiting, write_waiting
from dpo_core.server_keys import read_key, worker_key_path
from flows.worker.label_server import LabelServers

ROOT = Path(__file__).parents[2]
WAIT_S = 120


@pytest.mark.parametrize(
    ("words", "key_folder", "runs"), [(("up",), "worker", True), (("ui",), "campaigns", False)]
)
def test_one_address(tmp_path: Path, words: tuple[str, ...], key_folder: str, runs: bool) -> None:
    campaign(tmp_path, "better", 1)
    command = [sys.executable, "-u", "-m", "flows.cli", *words, "--port", "0"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert re.match(r"Ratchet: http://127\.0\.0\.1:\d+/ratchet/sign-in/", first), first
            key = read_key(worker_key_path(Layout(tmp_path / key_folder)))
            assert key is not None
            assert httpx.get(key.url, timeout=WAIT_S).status_code == 403
            with httpx.Client(base_url=key.url, headers=key.headers, timeout=WAIT_S) as client:
                home = client.get("/").text
                assert "better</a>" in home and ("Prefect’s runs" in home) is runs
                assert (client.get("/runs").status_code == 200) is runs
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT_S) == 0, process.stdout.read()
            assert psutil.wait_procs(children, 30)[1] == []
        finally:
            process.kill()


def test_faulty_campaign_that_waits_keeps_no_other_from_being_shown(tmp_path: Path) -> None:
    written = campaign(tmp_path, "waits", 1)
    asked = Waiting(2, "d", "http://127.0.0.1:1/dataset/d", 20, 7, "2026-01-01", None, "waits")
    write_waiting(written.layout, asked)
    written.layout.config.write_text("name: [waits\n", encoding="utf-8")
    said: list[str] = []
    with LabelServers(said.append) as servers:
        servers.provide_waiting([tmp_path / "campaigns"])
    assert len(said) == 1 and "campaign.yaml is not valid YAML" in said[0]


def test_up_wants_a_prefect_server_of_its_own(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": "http://127.0.0.1:1/api"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "up"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 2 and "PREFECT_API_URL names a Prefect server" in done.stderr
    assert list(tmp_path.iterdir()) == []
