"""One campaign that is disturbed until no fault is left, and then goes on to its end."""

import errno
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable

from benchmarks.survival.cluster import Cluster
from benchmarks.survival.processes import CHILDREN, Command, Commands
from benchmarks.survival.services import Services
from benchmarks.survival.shim import Shim
from tests.flows.survival.survival_runs import SERVER, finished_steps

_HTTP = {"HTTP 500": ("500", 3), "timeout": ("late", 1), "reset": ("cut", 3)}
SERVICES = ("endpoint", "argilla", "tracker")
_KILLS = ("tree", "orchestrator", "child", "prefect", "argilla", "worker")
_DISK = {"ENOSPC": (errno.ENOSPC, 10_000), "EIO": (errno.EIO, 1)}
KINDS = (
    *(f"kill: {what}" for what in _KILLS),
    *(f"disk: {what}" for what in _DISK),
    "clock jumps",
    *(f"{service}: {what}" for service in SERVICES for what in _HTTP),
)
ON_A_CLUSTER = (*KINDS[: len(_KILLS)], "kill: node", "disk lost")
"""What a campaign on a cluster and in a bucket suffers."""
_PATIENCE_S = 600.0
_MOST_STEPS_BETWEEN = 4
_UNDER_PREFECT = 0.25
_LIVED_S = (0.0, 8.0)
"""How old a child is, or a little older, when it is killed: they import for seconds."""
_CLOCKS_S = (-7200, -86_400, 3600, 200_000)


class Disturbed:
    """`deviations`: what was not as it must be. `done`: faults that took place, by kind."""

    def __init__(
        self,
        commands: Commands,
        services: Services,
        shim: Shim | None,
        chance: random.Random,
        cluster: Cluster | None = None,
    ) -> None:
        self._cluster = cluster
        self._commands, self._services, self._shim = commands, services, shim
        self._chance = chance
        self.done: Counter[str] = Counter()
        self.deviations: list[str] = []
        self._running: Command | None = None
        self._prefect, self._hurt = False, False
        self._code: int | None = None
        self._armed: dict[str, str] = {}  # service → what its next requests suffer

    def disturb(self, kinds: list[str]) -> list[str]:
        """The faults in their turn; those for which the campaign was over too soon are returned.

        Requests are harmed beside the others: each service has its next fault waiting for it.
        """
        waiting = {s: [kind for kind in kinds if kind.startswith(f"{s}: ")] for s in SERVICES}
        others = [kind for kind in kinds if kind.partition(": ")[0] not in SERVICES]
        missed: list[str] = []
        while (others or any(waiting.values()) or self._armed) and not self.finished():
            self._arm(waiting)
            if not others:
                self._ensure()
                self._pause(2.0)
            elif self._act(kind := others.pop(0)):
                self._count(kind)
                self._go_on(self._chance.randint(0, _MOST_STEPS_BETWEEN))
            else:
                missed.append(kind)
            self._collect()
        left = [kind for kinds in waiting.values() for kind in kinds]
        return [*missed, *others, *self._armed.values(), *left]

    def _go_on(self, steps: int) -> None:
        """So many more steps, so that faults meet the campaign everywhere."""
        aim = len(finished_steps(self._commands.campaign)) + steps
        deadline = time.monotonic() + _PATIENCE_S
        while (
            len(finished_steps(self._commands.campaign)) < aim
            and not self.finished()
            and time.monotonic() < deadline
        ):
            self._ensure()
            self._pause(0.5)
            self._collect()

    def _arm(self, waiting: dict[str, list[str]]) -> None:
        for service, kinds in waiting.items():
            if kinds and service not in self._armed:
                self._armed[service] = kind = kinds.pop(0)
                harm, count = _HTTP[kind.partition(": ")[2]]
                self._services.harms[service].arm(harm, count)
        self._hurt = self._hurt or bool(self._armed)

    def _collect(self) -> None:
        """Count what requests suffered meanwhile."""
        for service, kind in list(self._armed.items()):
            if self._services.harms[service].hit:
                del self._armed[service]
                self._count(kind)

    def _count(self, kind: str) -> None:
        self.done[kind] += 1
        print(f"    {kind} at {self._at()}", flush=True)

    def finish(self) -> None:
        """Without another fault to the end."""
        self._armed.clear()
        if self._shim is not None:
            self._shim.heal()
        for harm in self._services.harms.values():
            harm.disarm()
        for _ in range(3):  # the run under way may still suffer from the last fault
            self._ensure()
            self._await(lambda: False)
            if self._code == 0:
                return
        self.deviations.append(f"did not finish: {self._last_words()}")

    def finished(self) -> bool:
        steps = finished_steps(self._commands.campaign)
        return (2, "gate") in steps and self._running is None

    # ── one fault ────────────────────────────────────────────────────────────────────────────────

    def _act(self, kind: str) -> bool:
        what, _, how = kind.partition(": ")
        if kind == "kill: worker":
            return self._kill_worker()
        if kind == "kill: child":
            return self._kill_child()
        if kind == "disk lost":
            return self._lose_disk()
        self._ensure(kind)
        if what == "kill":
            self._pause(self._chance.uniform(0.5, 9.0))
            return self._running is not None and self._kill(how)
        if what == "disk":
            return self._break_disk(*_DISK[how])
        self._pause(self._chance.uniform(0.5, 6.0))
        if self._shim is None or self._running is None:
            return False
        self._shim.clock(self._chance.choice(_CLOCKS_S))
        return True

    def _kill(self, how: str) -> bool:
        self._hurt = True
        if how == "argilla":
            self._services.argilla.kill_and_start(self._chance.uniform(0.2, 3.0))
            return True
        if how == "node":
            assert self._cluster is not None
            return self._cluster.kill_node(self._chance)
        if how == "tree":
            hit = self._commands.kill_all() > 0
            return self._ended() and hit
        pid = self._pid(how)
        if pid is None and how == "prefect":  # it is still being started
            self._await(lambda: self._pid(how) is not None, within_s=60)
            pid = self._pid(how) if self._running is not None else None
        if pid is None or not _struck(pid):
            return False
        if how == "orchestrator":
            return self._ended()
        self._pause(2.0)
        return True

    def _pid(self, how: str) -> int | None:
        assert self._running is not None
        if how == "orchestrator":
            return self._running.process.pid
        alive = self._commands.alive()
        return next((pid for pid, words in alive.items() if SERVER in words), None)

    def _kill_child(self) -> bool:
        """A child that samples, trains or speaks to the tracker lives only now and then: one is
        waited for, and killed a while after. False: the campaign was over before, or none came."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self.finished() and time.monotonic() < deadline:
            self._ensure()
            self._await(lambda: bool(self._children()), within_s=_PATIENCE_S / 2)
            self._pause(self._chance.uniform(*_LIVED_S))
            children = self._children() if self._running is not None else []
            self._hurt = self._hurt or bool(children)
            if children and _struck(self._chance.choice(children)):
                self._pause(2.0)
                return True
        return False

    def _children(self) -> list[int]:
        return [
            pid
            for pid, words in sorted(self._commands.alive().items())
            if CHILDREN in words and SERVER not in words
        ]

    def _lose_disk(self) -> bool:
        """The campaign's machine is gone with its disk: the next one has the bucket alone."""
        self._ensure()
        self._pause(self._chance.uniform(2.0, 12.0))
        if self._running is not None:
            self._commands.kill_all()
            self._ended()
        if not finished_steps(self._commands.campaign):
            return False
        shutil.rmtree(self._commands.campaign)
        return True

    def _kill_worker(self) -> bool:
        """The campaign is handed to a worker, which is killed while it runs it."""
        if self._running is not None:
            self._commands.kill_all()
            self._ended()
        self._hurt = True
        home = ("--dir", str(self._commands.folder / "worker"))
        worker = self._commands.start("worker", *home, "--port", "0")
        deadline = time.monotonic() + 90
        while "ratchet submit" not in worker.said() and time.monotonic() < deadline:
            time.sleep(0.2)
            if worker.ended():
                self.deviations.append(f"the worker ended: {worker.said()[-400:]}")
                return False
        submitted = self._commands.start("submit", *self._commands.named(), *home)
        code = submitted.code()
        if code != 0 and "already" not in submitted.said():
            self.deviations.append(f"submit ended with {code}: {submitted.said()[-400:]}")
        before = len(finished_steps(self._commands.campaign))
        deadline = time.monotonic() + self._chance.uniform(5.0, 40.0)
        while time.monotonic() < deadline and not worker.ended():
            if len(finished_steps(self._commands.campaign)) > before + 3:
                break
            time.sleep(0.1)
        worker.process.kill()
        worker.code()
        self._nothing_lingers("the worker was killed")
        return True

    def _break_disk(self, number: int, calls: int) -> bool:
        if self._shim is None:
            return False
        self._pause(self._chance.uniform(0.5, 5.0))
        if self._running is None:
            return False
        self._hurt = True
        self._shim.fail(number, after=self._chance.randrange(0, 60), calls=calls)
        shim = self._shim
        self._await(lambda: shim.hit > 0, within_s=60)
        if shim.hit:
            self._pause(3.0)
        shim.heal()
        return shim.hit > 0

    # ── the run ──────────────────────────────────────────────────────────────────────────────────

    def _ensure(self, kind: str = "") -> None:
        """A run is under way: under Prefect where that is to be killed, else now and then."""
        needed = kind == "kill: prefect"
        if needed and self._running is not None and not self._prefect:
            self._hurt = True
            self._running.process.terminate()
            self._ended()
        if self._running is None:
            self._hurt = bool(self._armed)
            self._prefect = needed or self._chance.random() < _UNDER_PREFECT
            self._running = self._commands.run(prefect=self._prefect)

    def _pause(self, seconds: float) -> None:
        self._await(lambda: False, within_s=seconds)

    def _await(self, reached: Callable[[], bool], within_s: float = _PATIENCE_S) -> None:
        """Until `reached`, the time is up, or the run has ended by itself."""
        deadline = time.monotonic() + within_s
        while not reached() and time.monotonic() < deadline:
            if self._running is None:
                return
            if self._running.ended():
                self._ended()
                return
            time.sleep(0.03)
        if within_s == _PATIENCE_S and self._running is not None:
            self.deviations.append(f"hangs at {self._at()}: {self._last_words()}")
            self._commands.kill_all()
            self._ended()

    def _ended(self) -> bool:
        """The run is over: it said why, in words, and nothing of it is left."""
        assert self._running is not None
        self._code = code = self._running.code()
        said = self._running.said()
        if code not in (0, -signal.SIGKILL) and not self._hurt:
            self.deviations.append(f"ended with {code} without a fault: {said[-600:]}")
        if "Traceback" in said:
            self.deviations.append(f"traceback at {self._at()}: {said[-1500:]}")
        log, self._running = self._running.log, None
        self._nothing_lingers(log.name)
        return True

    def _nothing_lingers(self, after: str) -> None:
        alive = self._commands.lingering()
        if alive:
            self.deviations.append(f"alive after {after}: {list(alive.values())}")
            self._commands.kill_all()

    def _at(self) -> str:
        steps = finished_steps(self._commands.campaign)
        return f"round {steps[-1][0]} {steps[-1][1]}" if steps else "the beginning"

    def _last_words(self) -> str:
        logs = sorted(self._commands.folder.glob("*-run.log"))
        return logs[-1].read_text(errors="replace")[-600:] if logs else ""


def _struck(pid: int) -> bool:
    """Whether the process was there to be killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
