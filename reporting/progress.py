"""Progress of a running campaign: a live bar in a terminal, one line per step elsewhere."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.step_facts import SampledFacts
from dpo_core.campaign.step_now import StepRecord
from dpo_core.text import counted, visible


class CampaignProgress:
    """Progress of one `ratchet run`; a context manager that keeps the live bar at the bottom.

    record: a file that says the same to other processes while the run lasts.
    """

    def __init__(self, console: Console, rounds: int, record: Path | None = None) -> None:
        self.console = console
        self.rounds = rounds
        self._record = StepRecord(record)
        self._began = time.monotonic()
        self._step_began = self._began
        self._round_seconds: list[float] = []
        self._round_began = self._began
        self._cached = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("starting", total=None, rate="", left="")

    def note(self, text: str) -> None:
        """Print a line that stays on the screen."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def notice(self, text: str) -> None:
        """Print a warning while the step continues."""
        self.note(f"! {visible(text)}")

    def round_started(self) -> None:
        self._round_began = time.monotonic()

    def round_finished(self, number: int) -> None:
        self._round_seconds.append(time.monotonic() - self._round_began)

    def step_started(self, number: int, step: str) -> None:
        self._step_began = time.monotonic()
        self._record.begin(number, step)
        where = f"round {number}/{self.rounds}" if number else "base"
        self._bar.reset(
            self._task, total=None, description=f"{where}  {step}", rate="", left=self._left(number)
        )

    def say(self, what: str) -> None:
        """Set the live bar's description."""
        self._bar.update(self._task, description=what)

    def starting(self, process: str) -> None:
        self._bar.update(self._task, rate=f"starting the {process} process")

    def advance(self, done: int, total: int, unit: str) -> None:
        """Show `done` of `total` units of the running step; a dpo_core.children.Report."""
        seconds = max(time.monotonic() - self._step_began, 1e-6)
        rate = f"{done:,}/{total:,} {unit}  {done / seconds:,.0f}/s"
        self._bar.update(self._task, completed=done, total=total, rate=rate)
        self._record.advance(done, total, unit)

    def waiting(self, answered: int, needed: int) -> None:
        """Show how many of the labels that a round needs have arrived."""
        self._bar.update(
            self._task,
            completed=answered,
            total=needed,
            description="waiting for people",
            rate=f"{needed - answered:,} of {needed:,} missing",
            left="",
        )

    def step_finished(self, artifact: Artifact) -> None:
        entry = artifact.entry
        if artifact.cached:
            self._cached += 1
        else:
            self.flush_cached()
            self.note(_line(entry, self.rounds))

    def flush_cached(self) -> None:
        """Print how many finished steps were taken from disk since the last call."""
        if self._cached:
            self.note(f"{counted(self._cached, 'finished step')} taken from disk")
        self._cached = 0

    def stop(self) -> None:
        """Remove the live bar."""
        self._bar.stop()

    def _left(self, number: int) -> str:
        """Estimated time left; empty until a round has finished."""
        if not self._round_seconds or not number:
            return ""
        mean = sum(self._round_seconds) / len(self._round_seconds)
        remaining = mean * (self.rounds - number + 1) - (time.monotonic() - self._round_began)
        return f"about {max(remaining, 0) / 60:.1f} min left"

    def __enter__(self) -> "CampaignProgress":
        self._record.end()  # of a run that was killed
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._record.end()
        self.stop()


def _line(entry: Entry, rounds: int) -> str:
    where = f"round {entry.round}/{rounds}" if entry.round else "base"
    parts = [f"{where:<10} {entry.step:<12} {entry.seconds:6.1f} s"]
    if entry.came_in or entry.kept:
        parts.append(f"{entry.came_in:,} in, {entry.kept:,} kept" + _reasons(entry))
    sampled = SampledFacts.read(entry.facts) if "seconds_engine" in entry.facts else None
    if sampled is not None and sampled.seconds_engine:
        parts.append(f"{sampled.tokens / sampled.seconds_engine:,.0f} tokens/s" + _engines(sampled))
    return "  ".join(parts)


def _engines(sampled: SampledFacts) -> str:
    speeds = ", ".join(f"{engine.tokens_per_second:,.0f}" for engine in sampled.engines)
    return f" ({len(sampled.engines)} engines: {speeds})" if speeds else ""


def _reasons(entry: Entry) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in entry.dropped.items())
    return f" ({reasons})" if reasons else ""
