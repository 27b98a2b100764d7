"""The page that adds up over runs: its last line holds the totals for the next one."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.survival.disturbed import KINDS, ON_A_CLUSTER

_TOTALS = "<!-- totals: "
_INTRO = """# Survival, measured

A campaign with every kind of step (supervised warm start, sampling in shards, a rule and a model
behind an endpoint as judges, people in a real Argilla with a scripted annotator, gold and repeated
pairs, LoRA, pairs of earlier rounds, a regression suite, MLflow as tracker) is disturbed at random
moments and started again until it ends. Then every file that its ledger lists must hold what the
undisturbed campaign's holds, columns and numbers marked volatile aside; every label by (record,
annotator, verdict) must be there once; after each end of a run no process may be left.

    python -m benchmarks.survival --kills N --seed S --append THIS_PAGE

adds its counts to those below. A fault counts when it took place: a request that was harmed, a call
that failed, a process that was there to be killed.
"""


_ON_A_CLUSTER = """
With `--cluster` it runs on a Ray cluster of two nodes on this machine, of which one at a time is
killed (SIGKILL to its raylet) and replaced, and is stored in a bucket (`file://`); a lost disk is
the campaign's whole folder. The undisturbed campaign runs on one machine without a bucket.
"""


@dataclass
class Totals:
    """Counts over all runs of the benchmark."""

    faults: Counter[str] = field(default_factory=Counter)
    campaigns: int = 0
    deviations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "faults": dict(self.faults),
            "campaigns": self.campaigns,
            "deviations": self.deviations,
            "runs": self.runs,
        }


def read_totals(page: Path) -> Totals:
    """Those of a page; none where there is no page yet."""
    if not page.exists():
        return Totals()
    lines = page.read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if line.startswith(_TOTALS)]
    found = json.loads(line.removeprefix(_TOTALS).removesuffix(" -->"))
    return Totals(
        Counter(found["faults"]), found["campaigns"], found["deviations"], runs=found["runs"]
    )


def write_page(page: Path, totals: Totals, mended: str = "", *, cluster: bool = False) -> None:
    """`mended`: what stands on the page about deviations of earlier versions, kept as it is."""
    kinds = ON_A_CLUSTER if cluster else KINDS
    rows = [f"| {kind} | {totals.faults[kind]} |" for kind in kinds]
    parts = [
        _INTRO + (_ON_A_CLUSTER if cluster else ""),
        f"## {totals.faults.total()} faults in {totals.campaigns} campaigns\n",
        "| fault | times |\n|---|---|\n" + "\n".join(rows) + "\n",
        "## Deviations\n",
        _listed(totals.deviations) or "None in the version that was measured.\n",
        mended,
        "## Runs\n",
        _listed(totals.runs),
        f"{_TOTALS}{json.dumps(totals.as_json())} -->\n",
    ]
    page.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def read_mended(page: Path) -> str:
    """The section `## Found and mended`, written by hand."""
    if not page.exists():
        return ""
    _, found, rest = page.read_text(encoding="utf-8").partition("## Found and mended\n")
    return found + rest.partition("## Runs\n")[0].rstrip() + "\n" if found else ""


def _listed(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)
