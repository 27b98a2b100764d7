"""Ratchet's side: `python -m benchmarks.online_round.ratchet_side FOLDER SIZE_JSON CONFIG_JSON`.

A campaign of one round by the real flow, as `ratchet run --no-prefect` plays it. Start-up is all
that comes before the round and, within it, the start of the training process. Evaluation, which
TRL's trainer does not do, is counted apart as well.
"""

import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.dpo_round.side import show
from benchmarks.measure import KIND_OF_STEP, cpu_seconds
from benchmarks.online_round import workload
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.ledger import Ledger
from dpo_core.children import Child
from flows.config import CampaignConfig, validate
from flows.round import prepare, run_round
from flows.round_state import RoundContext
from flows.session import Session
from reporting.progress import CampaignProgress

_PART_OF = {**KIND_OF_STEP, "gate": "evaluating"}


@dataclass(frozen=True)
class MeasuredSession(Session):
    """A session that counts the CPU-seconds of the parts of a round."""

    parts: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    children: list[Child] = field(default_factory=list)

    def step(
        self, number: int, name: str, make: Callable[[Path], StepResult], **recipe: Any
    ) -> Artifact:
        started, starting = self.cpu_seconds(), self.parts["starting"]
        artifact = super().step(number, name, make, **recipe)
        used = self.cpu_seconds() - started - (self.parts["starting"] - starting)
        self.parts[_PART_OF.get(name, "other")] += used
        return artifact

    def cpu_seconds(self) -> float:
        """Used so far by this process and its children, those that have ended among them."""
        running = (child.process for child in self.children if child.process.returncode is None)
        return sum(os.times()[:4]) + sum(cpu_seconds(process.pid) for process in running)

    def count_starts(self) -> None:
        """Count the processes that are started from now on."""
        start = self.processes.start

        def counted(*arguments: Any) -> Child:
            self.children.append(child := start(*arguments))
            self.parts["starting"] += cpu_seconds(child.process.pid)
            return child

        self.processes.start = counted  # type: ignore[method-assign]


def run(folder: Path, size: workload.Size, options: dict[str, Any]) -> dict[str, float]:
    """One round with these training options: CPU-seconds by part, and what it came to."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as root,
        open(os.devnull, "w") as nowhere,
        CampaignProgress(Console(file=nowhere), rounds=1) as progress,
        MeasuredSession.open(Path(root), _campaign(folder, size, options), progress) as session,
    ):
        session.count_starts()
        held, base = prepare(session)
        session.parts.clear()
        started = session.cpu_seconds()
        run_round(session, RoundContext(1, base, base, held))
        used = session.cpu_seconds() - started
        entries = Ledger(session.layout.ledger).read()
    facts = {entry.step: entry.facts for entry in entries if entry.round == 1}
    return {
        **_figures(session.parts, started, used),
        "prompts": size.prompts,
        "pairs": facts["training"]["pairs"],
        "tokens": facts["completions"]["tokens"],
        "first_loss": facts["training"]["first_loss"],
    }


def _figures(parts: dict[str, float], before: float, used: float) -> dict[str, float]:
    """CPU-seconds of the round, its parts, and what is counted apart."""
    round_used = used - parts["starting"] - parts["evaluating"]
    named = {name: parts[name] for name in ("sampling", "judging", "training")}
    return {
        "cpu_seconds": round_used,
        **named,
        "other": round_used - sum(named.values()),
        "start_cpu_seconds": before + parts["starting"],
        "evaluating": parts["evaluating"],
    }


def _campaign(folder: Path, size: workload.Size, options: dict[str, Any]) -> CampaignConfig:
    raw = {
        "name": "online-round",
        "rounds": 1,
        "threads": workload.THREADS,
        "policy": {"model": str(folder / "model")},
        "prompts": {
            **workload.POOL.model_dump(),
            "path": str(folder / "prompts.jsonl"),
            "per_round": size.prompts,
        },
        "sampling": {
            "samples_per_prompt": workload.SAMPLES_PER_PROMPT,
            "max_tokens": size.max_tokens,
            "max_model_len": size.longest + 1,  # vLLM scores with room for one token more
        },
        "judge": {"function": "benchmarks.online_round.judge:score"},
        "pairs": {"truncated": "keep"},  # as TRL does
        "training": {
            "beta": workload.BETA,
            "learning_rate": workload.LEARNING_RATE,
            "warmup_steps": 0,
            "pairs_per_step": size.pairs_per_step,
            "compute_dtype": "float32",
            **options,
        },
        "evaluation": {"gate_prompts": workload.HELD_OUT, "test_prompts": workload.HELD_OUT},
    }
    return validate(raw, "benchmarks.online_round")


if __name__ == "__main__":
    show(
        run(
            Path(sys.argv[1]),
            workload.Size(**json.loads(sys.argv[2])),
            json.loads(sys.argv[3]),
        )
    )
