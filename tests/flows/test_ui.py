"""`ratchet ui` in a real browser, on a real campaign run with vLLM and Prefect."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.lock import holder
from dpo_core.server_keys import campaign_key_path, read_key
from flows.prefect.server import free_port
from tests import typed
from tests.living import living

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
WAIT_MS = 60_000
CONFIG: dict[str, Any] = {
    "name": "Shown_in.Prefect",
    "rounds": 1,
    "threads": 1,
    "policy": {"build": "examples.reviews.model:build", "build_args": {"layers": 2}},
    "sft": {"function": "examples.reviews.grammar:reviews", "steps": 30, "batch_size": 32},
    "prompts": {"function": "examples.reviews.grammar:prompts", "per_round": 32},
    "sampling": {"engine": "vllm", "max_tokens": 24, "max_model_len": 64},
    "judge": {"function": "examples.reviews.judge:score"},
    "training": {"beta": 0.5, "learning_rate": 1e-4},
    "evaluation": {"gate_prompts": 32, "test_prompts": 32, "bootstrap_resamples": 200},
}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", *arguments]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prefect")
    (folder / "c.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    run = ("run", str(folder / "c.yaml"), "--campaign-dir", str(folder / "campaign"))
    for expected in ("round 1/1  gate", "finished steps taken from disk"):  # the second is resumed
        done = typed.ratchet(run, ROOT, os.environ)
        assert done.returncode == 0, done.stderr + done.stdout
        assert expected in done.stdout
        assert done.stderr == ""  # vLLM's and Prefect's noise is in the logs
        assert "INFO" not in done.stdout and "\x1b" not in done.stdout
    return folder / "campaign"


@pytest.fixture
def server(campaign: Path) -> Iterator[tuple["subprocess.Popen[str]", str, str]]:
    """(the running `ratchet ui`, its address, the link that signs a browser in)"""
    port = free_port()
    ui = command("ui", str(campaign), "--port", str(port))
    env = {**os.environ, "RATCHET_UI_TEST": str(port)}
    with subprocess.Popen(ui, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{port}"
        lines = [process.stdout.readline().strip() for _ in range(4)]
        link, once = lines.pop(2).removeprefix("sign in there: ").split(" ", 1)
        assert link.startswith(f"{url}/ratchet/sign-in/") and once == "(works once)"
        assert lines == [
            f"runs:   {url}/runs",
            f"report: {url}/ratchet/report.html",
            "Ctrl-C stops",
        ]
        yield process, url, link
        process.terminate()


def links(page: "Page", part: str) -> list[tuple[str, str]]:
    """(text, address) of the links whose address contains `part`, once there are any."""
    page.wait_for_selector(f"a[href*='{part}']", timeout=WAIT_MS)
    found = page.query_selector_all(f"a[href*='{part}']")
    return [(a.inner_text(), a.get_attribute("href") or "") for a in found]


def test_runs_rounds_artifacts_and_report(
    server: tuple["subprocess.Popen[str]", str, str], browser: "Browser"
) -> None:
    _, url, link = server
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(link, timeout=WAIT_MS)
    runs = [text for text, _ in links(page, "/runs/flow-run/")]
    assert sorted(set(runs)) == [
        "Shown_in.Prefect",
        "Shown_in.Prefect base",
        "Shown_in.Prefect round 1",
    ]

    # Links are followed, since each address that is gone to loads Prefect's large page again.
    page.get_by_role("link", name=re.compile("round 1$")).first.click()
    page.get_by_text("Artifacts", exact=True).last.wait_for(timeout=WAIT_MS)  # of this run's page
    page.get_by_text("Task Runs", exact=True).click()
    page.get_by_text("Cached").first.wait_for(timeout=WAIT_MS)  # the second run made nothing
    page.get_by_text("Artifacts", exact=True).last.click()
    found = links(page, "/artifacts/artifact/")
    assert {" ".join(text.split()[:2]) for text, _ in found} == {
        "MARKDOWN shown-in-prefect-report",
        "TABLE shown-in-prefect-round-1",
    }

    page.get_by_role("link", name="shown-in-prefect-round-1").first.click()
    page.get_by_text("wins vs base", exact=True).wait_for(timeout=WAIT_MS)
    shown = page.inner_text("body")
    for name in ("KL to base", "promoted", "mean length", "loss", "pairs kept", "tokens/s"):
        assert name in shown
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Open the report").first.click()
    report = opened.value
    report.wait_for_selector("body[data-ready]", timeout=WAIT_MS)  # a new tab, signed in as well
    assert report.url == f"{url}/ratchet/report.html"
    page.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(server: tuple["subprocess.Popen[str]", str, str], number: int) -> None:
    process, url, _ = server
    mark = f"RATCHET_UI_TEST={url.rpartition(':')[2]}"
    assert any("flows.prefect.server" in command for command in living(mark).values())
    process.send_signal(number)
    assert process.wait(timeout=30) == 0
    assert living(mark) == {}


def test_it_serves_a_campaign_that_is_running(campaign: Path, tmp_path: Path) -> None:
    import urllib.request

    folder, url = campaign.parent, f"http://127.0.0.1:{(port := free_port())}"
    config = (str(folder / "c.yaml"), "--set", "sampling.engine=transformers")
    run = command("run", *config, "--campaign-dir", str(tmp_path / "running"))
    pipe = subprocess.PIPE
    with subprocess.Popen(run, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as running:
        assert running.stdout is not None
        while "held_out" not in running.stdout.readline():
            assert running.poll() is None
        ui = command("ui", str(tmp_path / "running"), "--port", str(port))
        with subprocess.Popen(ui, cwd=ROOT, stdout=pipe, text=True) as serving:
            assert serving.stdout is not None
            assert serving.stdout.readline().startswith("runs:")
            key = read_key(campaign_key_path(Layout(tmp_path / "running")))
            assert key is not None and key.url == url
            for path in ("/runs", "/ratchet/report.html"):
                request = urllib.request.Request(url + path, headers=key.headers)
                with urllib.request.urlopen(request, timeout=30) as answer:
                    assert answer.status == 200
            assert holder(tmp_path / "running" / "lock") is not None
            serving.send_signal(signal.SIGINT)
            assert serving.wait(timeout=30) == 0
        os.kill(running.pid, signal.SIGINT)
        _, message = running.communicate(timeout=60)
        assert running.returncode == 130
        assert "Continue with: ratchet run" in message


def test_a_taken_port_is_bad_input(campaign: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ui = ("ui", str(campaign), "--port", str(port))
        done = typed.ratchet(ui, ROOT, os.environ)
    assert done.returncode == 2
    assert (
        done.stderr.startswith(f"ratchet: port {port} cannot be used") and "--port" in done.stderr
    )
    assert f"by process {os.getpid()} (" in done.stderr
