"""Take the docs' picture of the console, from campaigns that really ran:
`python scripts/console_picture.py FOLDER [OUT]`, with the campaigns in FOLDER/campaigns."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs/figures/console.png"
CHROMIUM = "/usr/bin/chromium"
SIZE = {"width": 1180, "height": 640}
COLOURS = 64  # a page of few colours: a third of the bytes


def take(folder: Path, out: Path) -> None:
    command = [sys.executable, "-u", "-m", "flows.cli", "ui", "--port", "0"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True
    ) as served:
        try:
            assert served.stdout is not None
            link = re.search(r"http://\S+", served.stdout.readline())
            assert link, "no address"
            out.write_bytes(_picture(link[0]))
        finally:
            served.send_signal(signal.SIGINT)


def _picture(link: str) -> bytes:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.set_default_timeout(120_000)
        page.goto(link)
        page.wait_for_load_state("networkidle")
        height = page.evaluate("document.querySelector('main').getBoundingClientRect().bottom")
        page.set_viewport_size({**SIZE, "height": min(900, int(height) + 16)})
        taken = page.screenshot()
        browser.close()
    smaller = io.BytesIO()
    Image.open(io.BytesIO(taken)).convert("P", palette=Image.Palette.ADAPTIVE, colors=COLOURS).save(
        smaller, "PNG", optimize=True
    )
    return smaller.getvalue()


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else OUT)
