"""What labelling twenty fixed pairs takes on Argilla's page, with and without what Ratchet adds.

    python -m benchmarks.labelling [--chromium /usr/bin/chromium] [--json FILE]

A careful person reads the guidelines, then each prompt and both answers to their ends, and answers
by key. Scrolls are turns of the wheel by 85 % of what is visible. A pair of keys that submitted
nothing is lost: the person then clicks on the answer and presses Enter.
"""

import tempfile
from argparse import ArgumentParser
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from benchmarks.labelling_pairs import PAIRS, fixed_pairs
from benchmarks.measure import add_json_option, machine, write_result
from labeling.people.argilla_parts import Questions
from labeling.people.argilla_queue import ArgillaQueue
from labeling.people.asking import Task, ask
from labeling.people.label_queue import Dataset
from labeling.people.log import LabelLog
from labeling.people.task import GUIDELINES, ItemBuilder, plan_items
from labeling.server import WORKSPACE, Credentials, running
from labeling.server.users import sign_in_link

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_VIEWPORT = {"width": 1440, "height": 900}
_ADDED = "**/ratchet/static/**"
_TURN = 0.85
_SUBMITTED_MS = 4_000
_READY_MS = 60_000
_PROMPT = "() => document.querySelector('.record__content .fields > div')?.textContent"
_AREAS = (
    "[...document.querySelectorAll('.record__content .fields > div')]"
    ".map((field) => field.querySelector('.content-area, .chat__wrapper'))"
)
_VISIBLE = f"""([index, end]) => {{
    const area = {_AREAS}[index];
    const hidden = end ? area.scrollHeight - area.clientHeight - area.scrollTop : area.scrollTop;
    if (hidden > 2) return false;
    const {{ top, bottom }} = area.getBoundingClientRect();
    for (let box = area.parentElement; box; box = box.parentElement) {{
        if (getComputedStyle(box).overflowY === "visible") continue;
        const seen = box.getBoundingClientRect();
        if (end ? bottom > seen.bottom + 2 : top < seen.top - 2) return false;
    }}
    return end ? bottom <= innerHeight + 2 : top >= -2;
}}"""
_BEGINNINGS = f"() => {_AREAS}.map((area) => area.getBoundingClientRect().top)"


@dataclass
class Effort:
    """What labelling took. offsets: pixels from A's beginning to B's, of each pair. lost:
    keystrokes that submitted nothing."""

    labels: int = 0
    scrolls: int = 0
    clicks: int = 0
    keys: int = 0
    lost: int = 0
    offsets: list[float] = field(default_factory=list)

    def shown(self) -> str:
        each = self.labels
        pixels = f"{mean(self.offsets):6.0f} {max(self.offsets):6.0f}"
        rates = f"{self.scrolls / each:8.2f} {self.clicks / each:7.2f} {self.keys / each:6.2f}"
        return f"{self.lost:4d} {pixels} {rates}"


@dataclass
class Labeller:
    """Somebody at a page; counts what they do. added: whether the page has what Ratchet adds."""

    page: "Page"
    added: bool
    effort: Effort = field(default_factory=Effort)

    def label_all(self, pairs: int = PAIRS) -> Effort:
        self.page.locator(".questions-form input").first.wait_for(state="attached")
        self._read_guidelines()
        for _ in range(pairs):
            self._read_pair()
            self._answer()
        return self.effort

    def _read_guidelines(self) -> None:
        header = self.page.locator(".wrapper__left .panel__header").first
        if self.added:  # they are open
            self.page.locator(".wrapper__left .panel__header").first.wait_for()
            self.page.wait_for_function("localStorage['ratchet-guidelines-read']")
            self._press("g")
            return
        for _ in range(2):  # opened and closed
            header.click()
            self.effort.clicks += 1

    def _read_pair(self) -> None:
        self.page.wait_for_function(f"() => {_AREAS}.filter(Boolean).length === 3")  # or it loads
        beginnings: list[float] = self.page.evaluate(_BEGINNINGS)
        self.effort.offsets.append(abs(beginnings[2] - beginnings[1]))
        for index, end in ((0, False), (0, True), (1, True), (2, True)):
            self._scroll_to(index, end)

    def _scroll_to(self, index: int, end: bool) -> None:
        for _ in range(100):
            if self.page.evaluate(_VISIBLE, [index, end]):
                return
            if self.added and index:
                self._press("PageDown")
            else:
                box = self.page.locator(".record__content").first.bounding_box()
                assert box is not None
                middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
                self.page.mouse.move(*middle)
                self.page.mouse.wheel(0, (1 if end else -1) * _TURN * box["height"])
                self.effort.scrolls += 1
            self._settle()
        raise RuntimeError(f"field {index} cannot be read to its {'end' if end else 'beginning'}")

    def _settle(self) -> None:
        """Two frames: a scroll has then been drawn."""
        wait = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.page.evaluate(wait)

    def _answer(self) -> None:
        prompt: str = self.page.evaluate(_PROMPT)
        self._press("1")
        self._press("Enter")
        if not self._is_submitted(prompt):
            self.effort.lost += 2
            self.page.locator(".questions-form .input-button label").first.click()
            self.effort.clicks += 1
            self._press("Enter")
            if not self._is_submitted(prompt):
                raise RuntimeError(f"the answer to {prompt!r} cannot be given")
        self.effort.labels += 1

    def _is_submitted(self, prompt: str) -> bool:
        """Whether another prompt stands there soon, or none, since nothing is left."""
        from playwright.sync_api import TimeoutError as TooLate

        try:
            is_next = f"(prompt) => ({_PROMPT})() !== prompt"
            self.page.wait_for_function(is_next, arg=prompt, timeout=_SUBMITTED_MS)
        except TooLate:
            return False
        return True

    def _press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.effort.keys += 1


def ask_in(credentials: Credentials, name: str, folder: Path) -> Dataset:
    """The fixed pairs, asked of whoever labels on that server."""
    pairs = [(pair, "fixed") for pair in fixed_pairs()]
    items = plan_items(ItemBuilder(1, 7), pairs, [], 0)
    task = Task(name, Questions(1, False, True), GUIDELINES, items, 1.0)
    with ArgillaQueue(credentials.access, WORKSPACE) as queue:
        return ask(queue, LabelLog(folder / f"{name}.jsonl"), task, lambda *_: None)


def label_in(browser: "Browser", credentials: Credentials, dataset: Dataset, added: bool) -> Effort:
    """What labelling all of it takes; added: on the page with what Ratchet adds."""
    page = browser.new_context(viewport=_VIEWPORT).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(_READY_MS)
    if not added:
        page.route(_ADDED, lambda route: route.abort())
    page.goto(sign_in_link(credentials, f"/dataset/{dataset.id}/annotation-mode"))
    effort = Labeller(page, added).label_all()
    page.context.close()
    return effort


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    add_json_option(parser)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "argilla") as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium, args=["--no-sandbox"]
        )
        print("              lost    pixels A to B  per label: scrolls  clicks  keys")
        efforts = {}
        for name, added in (("argilla", False), ("ratchet", True)):
            dataset = ask_in(server.credentials, name, Path(folder))
            effort = label_in(browser, server.credentials, dataset, added)
            print(f"{name:14s}{effort.shown()}", flush=True)
            efforts[name] = asdict(effort)
        browser.close()
    write_result({**machine(), "efforts": efforts}, arguments.json)


if __name__ == "__main__":
    main()
