"""`ratchet doctor`: would a campaign run here?"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.interrupts import interruptible
from flows.commands.options import CampaignDir, Overrides

if TYPE_CHECKING:
    from flows.doctor.examine import Examination

JSON_VERSION = 1
_WOULD_NOT = 2


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(help="YAML config of a campaign; without one only the machine is examined."),
    ] = None,
    overrides: Overrides = None,
    campaign_dir: CampaignDir = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say whether `ratchet run` would work here, and what to change if not.

    Exit code 0: it would; 2: it would not. Writes nothing; `ratchet run` does the cheap part of it.
    """
    from dpo_core.campaign.layout import default_root
    from flows.config import load_config
    from flows.doctor.examine import examine

    with interruptible(resumable=False):
        given = overrides or []
        loaded = load_config(config, given, campaign_dir) if config is not None else None
        root = campaign_dir or (default_root(loaded.name) if loaded is not None else None)
        found = examine(loaded, root)
        print(_as_json(found) if json else "\n".join(_lines(found)))
    if not found.would_run:
        raise typer.Exit(_WOULD_NOT)


def _lines(found: "Examination") -> Iterator[str]:
    for finding in found.findings:
        where = f" ({finding.where})" if finding.where else ""
        yield f"{finding.severity:8} {finding.check}: {finding.what}{where}"
        if finding.severity != "ok" and finding.remedy:
            yield f"{'':8}   {finding.remedy}"
    problems = sum(finding.severity == "problem" for finding in found.findings)
    yield "`ratchet run` would work" if not problems else f"{problems} problem(s): it would not run"


def _as_json(found: "Examination") -> str:
    from dpo_core.text import printed_json

    told = {
        "version": JSON_VERSION,
        "would_run": found.would_run,
        "findings": [asdict(finding) for finding in found.findings],
        "memory_gib": asdict(found.memory) if found.memory is not None else None,
    }
    return printed_json(told)
