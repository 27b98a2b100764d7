"""`python -m benchmarks.survival --kills N --seed S --append PAGE`.

Exit code 0: no deviation; 1: some, which the page names.
"""

import random
import shutil
import signal
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.survival.cluster import Cluster
from benchmarks.survival.compare import differences, fetch_all
from benchmarks.survival.disturbed import KINDS, ON_A_CLUSTER, Disturbed
from benchmarks.survival.everything import write_campaign
from benchmarks.survival.page import Totals, read_mended, read_totals, write_page
from benchmarks.survival.processes import Commands
from benchmarks.survival.services import services, shared
from benchmarks.survival.shim import Shim, compiled

_PER_CAMPAIGN = 27
_NO_COMPILER = "; no C compiler, so no faults of disk and clock"


class Benchmark:
    """A reference, and campaigns that are compared with it."""

    def __init__(self, options: Namespace, folder: Path) -> None:
        self._chance = random.Random(options.seed)
        self._seed, self._folder, self._page = options.seed, folder, options.append
        self._totals = read_totals(self._page) if self._page else Totals()
        self._on_a_cluster = options.cluster
        self._library = None if options.cluster else compiled(folder)
        self.deviations: list[str] = []

    def run(self, kills: int, only: str | None) -> None:
        every = ON_A_CLUSTER if self._on_a_cluster else KINDS
        kinds = [kind for kind in every if only is None or only in kind]
        queue = [kind for _ in range(kills // len(kinds) + 1) for kind in self._shuffled(kinds)]
        queue = queue[:kills]
        with shared(self._folder / "mlflow") as self._shared:
            self._config = write_campaign(self._folder / "config", self._shared.endpoint)
            if not (self._folder / "reference" / "campaign" / "report.html").exists():
                self._campaign("reference", [])
            number, idle = 0, 0
            while queue and idle < 3:
                number += 1
                mine, queue = queue[:_PER_CAMPAIGN], queue[_PER_CAMPAIGN:]
                left = self._campaign(f"disturbed-{number}", mine)
                idle = idle + 1 if len(left) == len(mine) else 0
                queue += left

    def _shuffled(self, kinds: list[str]) -> list[str]:
        return self._chance.sample(kinds, len(kinds))

    def _campaign(self, name: str, kinds: list[str]) -> list[str]:
        """The kinds that found no moment any more."""
        folder = self._folder / name
        began = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with services(folder, self._shared) as found, self._cluster(folder, name) as cluster:
            variables, shim = dict(found.variables), None
            if self._library is not None:
                shim = Shim(self._library, folder / "shim", folder / "campaign")
                variables |= shim.variables
            commands = self._commands(folder, variables, cluster)
            disturbed = Disturbed(commands, found, shim, self._chance, cluster)
            try:
                left = disturbed.disturb(kinds)
                disturbed.finish()
                if cluster is not None:
                    fetch_all(folder / "campaign")
            finally:
                commands.kill_all()
        deviations = list(disturbed.deviations)
        if name != "reference":
            reference = self._folder / "reference" / "campaign"
            deviations += differences(folder / "campaign", reference)
        self._count(name, disturbed, deviations, time.monotonic() - began)
        if not deviations and name != "reference":
            shutil.rmtree(folder)
        return left

    def _commands(
        self, folder: Path, variables: Mapping[str, str], cluster: Cluster | None
    ) -> Commands:
        if cluster is None:
            return Commands(self._config, folder, variables)
        told = {**variables, **cluster.variables}
        return Commands(self._config, folder, told, cluster.settings, cluster.children)

    def _cluster(self, folder: Path, name: str) -> AbstractContextManager[Cluster | None]:
        """For disturbed campaigns; the reference is made on this machine alone."""
        if not self._on_a_cluster or name == "reference":
            return nullcontext()
        return Cluster(self._config.parent, folder / "bucket")

    def _count(
        self, name: str, disturbed: Disturbed, deviations: list[str], seconds: float
    ) -> None:
        where = f"seed {self._seed}, {name}"
        said = [" ".join(f"{where}: {one}".split())[:700] for one in deviations]
        print(f"  {name}: {disturbed.done.total()} faults, {seconds:.0f} s", *said, sep="\n    ")
        sys.stdout.flush()
        self.deviations += said
        if name == "reference":
            return
        self._totals.faults += disturbed.done
        self._totals.campaigns += 1
        self._totals.deviations += said
        self._write(None)

    def _write(self, line: str | None) -> None:
        if line is not None:
            self._totals.runs.append(line)
        if self._page is not None:
            mended = read_mended(self._page)
            write_page(self._page, self._totals, mended, cluster=self._on_a_cluster)

    def end(self, faults_before: int) -> None:
        found = machine()
        self._write(
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {found['commit']}, seed {self._seed}: "
            f"{self._totals.faults.total() - faults_before} faults, {len(self.deviations)} "
            f"deviations; {found['cores']} cores, load {found['load_average']}"
            + ("" if self._library or self._on_a_cluster else _NO_COMPILER)
        )


def main() -> int:
    parser = ArgumentParser(prog="python -m benchmarks.survival", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="faults of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--append", type=Path, help="page to which the counts are added")
    parser.add_argument("--cluster", action="store_true", help="on Ray, and in a bucket")
    parser.add_argument("--only", help="kinds whose name holds this")
    parser.add_argument("--folder", type=Path, help="where the campaigns lie; default: temporary")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are ended on the way out
    folder = options.folder or Path(tempfile.mkdtemp(prefix="ratchet-survival-"))
    folder.mkdir(parents=True, exist_ok=True)
    benchmark = Benchmark(options, folder)
    before = benchmark._totals.faults.total()
    try:
        benchmark.run(options.kills, options.only)
    finally:
        benchmark.end(before)
    return 1 if benchmark.deviations else 0


if __name__ == "__main__":
    sys.exit(main())
