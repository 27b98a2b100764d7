"""A campaign of two rounds whose steps take milliseconds, on the real store and a real bucket.

    python stand_in.py FOLDER EVERY

kills it after every EVERY-th object that it writes, and goes on each time on an empty folder. The
process that forks these runs never uses the bucket itself.
"""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from dpo_core import json_lines
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.campaign.store import Recipe, Store
from dpo_core.records import Cost
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.objects import Objects, open_objects
from dpo_core.storage.uploads import Uploads, stored
from labeling.judges.memory import ReplyMemory
from labeling.judges.questions import Reply

LEASE_S = 0.4
ROUNDS = 2
STEPS = ("prompts", "completions", "judgements", "preferences", "training", "gate")
SIZES = {"completions": 60_000, "training": 400_000}


class Campaign:
    """What `ratchet run` does with a folder and its bucket. made: steps made by this run."""

    def __init__(self, root: Path, uploads: Uploads | None) -> None:
        self.layout = Layout(root)
        self.store = Store(root, threads=1)
        self.uploads = uploads
        self.made: list[str] = []

    def run(self, after_step: Callable[[], object] = lambda: None) -> None:
        self.layout.config.write_text("name: stand-in\nstorage: {url: null}\n")
        before: Artifact | None = None
        policies = []
        for number in range(1, ROUNDS + 1):
            for step in STEPS:
                if self.uploads is not None:
                    self.uploads.check()
                before = self._step(number, step, before)
                if step == "training":
                    policies.append(before)
                after_step()
            self.store.settle(number)
            self.store.remember("promoted", {"round": number, "policy": "", "path": ""})
            for policy in policies[:-1]:
                if policy.path("policy").exists():
                    self.store.prune(policy, "policy")
            after_step()

    def _step(self, number: int, step: str, before: Artifact | None) -> Artifact:
        declared = {"before": self._output(before)} if before is not None else {}
        inputs = Inputs(step, declared)
        recipe = Recipe(number, step, {"round": number}, inputs.hashes)

        def make(folder: Path) -> StepResult:
            self.made.append(f"{number} {step}")
            content = b"" if before is None else inputs.path("before").read_bytes()
            seed = hashlib.sha256(content + step.encode()).digest()
            self._grow(number, step)
            name = "policy/weights" if step == "training" else f"{step}.bin"
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(seed * (SIZES.get(step, 4_000) // 32))
            return StepResult(1, 1)

        return self.store.run(recipe, make)

    def _output(self, before: Artifact) -> Input:
        (name,) = before.entry.outputs
        return before.input(name)

    def _grow(self, number: int, step: str) -> None:
        """Files that grow, in the order in which a step writes them."""
        if step == "judgements":
            ReplyMemory(self.layout.judge_replies).put(f"key {number}", Reply("A", cost=Cost(1, 1)))
            json_lines.append(self.layout.judge_spending, [{"source": "llm", "money": number}])
        if step == "preferences":
            json_lines.append(self.layout.labels(number), [{"event": "pulled"}])


def run(
    root: Path,
    url: str,
    wrap: Callable[[Objects], Objects] = lambda objects: objects,
    patience_s: float = 20.0,
) -> Campaign:
    """Run or resume it, each step in the bucket before the next one begins."""
    bucket = Bucket(wrap(open_objects(url, make=True)), url, patience_s=patience_s)
    root.mkdir(exist_ok=True)
    with stored(Layout(root), bucket, LEASE_S) as uploads:
        campaign = Campaign(root, uploads)
        campaign.run(uploads.wait)
    return campaign


def hashes(root: Path) -> dict[str, dict[str, str]]:
    """What the ledger says of each step, without times."""
    entries = Ledger(Layout(root).ledger).read()
    return {f"{e.round} {e.step} {e.fingerprint}": dict(e.outputs) for e in entries if e.outputs}


class Wrapped:
    """Objects as they are; tests change what they do."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def size(self, key: str) -> int | None:
        return self.objects.size(key)

    def chunks(self, key: str, size: int) -> Iterator[bytes]:
        return self.objects.chunks(key, size)

    def names(self, folder: str) -> list[str]:
        return self.objects.names(folder)

    def put(self, key: str, content: bytes | Path) -> None:
        self.objects.put(key, content)

    def create(self, key: str, content: bytes) -> None:
        self.objects.create(key, content)


class KilledAfter(Wrapped):
    """Objects of a process that is killed once it has written so many of them."""

    def __init__(self, objects: Objects, writes: int) -> None:
        super().__init__(objects)
        self._left = writes

    def put(self, key: str, content: bytes | Path) -> None:
        super().put(key, content)
        self._count(key)

    def create(self, key: str, content: bytes) -> None:
        super().create(key, content)
        self._count(key)

    def _count(self, key: str) -> None:
        if key.startswith("lease/") and self._left > 1:
            return  # renewals come when they come
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _forked(function: Callable[[], object]) -> int:
    """The wait status of a process that calls `function`."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def _report(folder: Path, name: str, url: str) -> None:
    campaign = run(folder / name, url)
    report = {"made": campaign.made, "hashes": hashes(folder / name)}
    (folder / f"{name}.json").write_text(json.dumps(report))


def _kill_everywhere(folder: Path, every: int) -> None:
    """A line of JSON per kill: what was in the bucket, and what the next machine made of it."""
    assert _forked(lambda: _report(folder, "whole", f"file://{folder}/whole-bucket")) == 0
    whole = json.loads((folder / "whole.json").read_text())
    writes = 1
    while True:
        url, name = f"file://{folder}/bucket-{writes}", f"run-{writes}"
        status = _forked(lambda: run(folder / name, url, lambda o: KilledAfter(o, writes)))  # noqa: B023
        known = [*_stored(folder / f"bucket-{writes}")]
        assert _forked(lambda: _report(folder, f"{name}-on", url)) == 0  # noqa: B023
        report = json.loads((folder / f"{name}-on.json").read_text())
        same = report["hashes"] == whole["hashes"]
        redone = sorted({*report["made"]} & {*known})
        lost = sorted({*whole["made"]} - {*report["made"]} - {*known})
        line = {"writes": writes, "killed": os.WIFSIGNALED(status), "known": len(known)}
        print(json.dumps({**line, "same": same, "redone": redone, "lost": lost}), flush=True)
        if not os.WIFSIGNALED(status):
            return
        writes += every


def _stored(bucket: Path) -> Iterator[str]:
    """Steps in the bucket's segments, read without Ratchet."""
    for path in sorted(bucket.glob("ledger/*.json")):
        entries = json.loads(path.read_text())["entries"]
        yield from (f"{each['round']} {each['step']}" for each in entries if each["outputs"])


if __name__ == "__main__":
    _kill_everywhere(Path(sys.argv[1]), int(sys.argv[2]))
