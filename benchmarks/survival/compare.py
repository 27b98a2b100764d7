"""What must be equal at the end, whatever happened on the way."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.layout import MANIFEST, Layout
from dpo_core.campaign.metric_columns import VOLATILE
from dpo_core.campaign.remote import bring
from dpo_core.sealed import read_sealed
from dpo_core.tables import read_rows
from tests.flows.survival.survival_runs import content, ledger

_OF_THE_SERVER = ("dataset", "seconds_waited", "cpu_seconds", "gpu_seconds")
"""What a round's row says of Argilla and of waiting."""


def fetch_all(campaign: Path) -> None:
    """Every output that is in the campaign's bucket alone."""
    for number, steps in _read(Layout(campaign).current)["rounds"].items():
        for folder in steps.values():
            root = campaign / "rounds" / number / folder
            for name in read_sealed((root / MANIFEST).read_bytes())[0]["outputs"]:
                bring(root / name)


def differences(campaign: Path, reference: Path) -> list[str]:
    """Steps, files and rows that are not those of the undisturbed campaign, and labels.

    Fingerprints are not looked at: those behind labels hash what Argilla made up, its ids and
    times, which are another server's here.
    """
    found = [*_steps(campaign, reference), *_files(campaign, reference)]
    if _rows(campaign) != _rows(reference):
        found.append("metrics.parquet differs")
    ours, theirs = _labels(campaign), _labels(reference)
    if ours != theirs:
        found.append(f"labels lost {sorted(theirs - ours)}, doubled or new {sorted(ours - theirs)}")
    return found


def _steps(campaign: Path, reference: Path) -> Iterator[str]:
    names = ("came_in", "kept", "dropped")
    said = [
        [(e["round"], e["step"], *(e[name] for name in names)) for e in ledger(root)]
        for root in (campaign, reference)
    ]
    if said[0] != said[1]:
        unlike = [one for one in said[0] if one not in said[1]]
        yield f"the ledger has {len(said[0])} steps of {len(said[1])}; only here: {unlike[:3]}"


def _files(campaign: Path, reference: Path) -> Iterator[str]:
    ours, theirs = _outputs(campaign), _outputs(reference)
    for name in sorted(ours.keys() ^ theirs.keys()):
        yield f"{name} is {'new' if name in ours else 'missing'}"
    for name in sorted(ours.keys() & theirs.keys()):
        if name.endswith("gate/metrics.json"):
            equal = _steady(_read(ours[name])) == _steady(_read(theirs[name]))
        else:
            equal = content(ours[name]) == content(theirs[name])
        if not equal:
            yield f"{name} differs"


def _outputs(campaign: Path) -> Mapping[str, Path]:
    """round/step/file → path of every output of a step that is valid now."""
    layout = Layout(campaign)
    found = {}
    for number, steps in _read(layout.current)["rounds"].items():
        for step, folder in steps.items():
            root = layout.root / "rounds" / number / folder
            for path in (p for p in root.rglob("*") if p.is_file() and p.name != "step.json"):
                found[f"{number}/{step}/{path.relative_to(root)}"] = path
    return found


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _steady(row: Mapping[str, Any]) -> dict[str, Any]:
    """A round's row without what cannot repeat."""
    steady = {name: value for name, value in row.items() if name not in VOLATILE}
    labels = steady.get("labels")
    labels = json.loads(labels) if isinstance(labels, str) else labels
    if labels is not None:
        steady["labels"] = {k: v for k, v in labels.items() if k not in _OF_THE_SERVER}
    return steady


def _rows(campaign: Path) -> list[dict[str, Any]]:
    path = Layout(campaign).metrics
    rows = read_rows(path) if path.exists() else []
    # As text: a number that is none is not equal to itself.
    return [{name: repr(value) for name, value in _steady(row).items()} for row in rows]


def _labels(campaign: Path) -> Counter[tuple[str, str, str]]:
    """(record, annotator, verdict) → how often, over the labels of all rounds."""
    found: Counter[tuple[str, str, str]] = Counter()
    for number in (1, 2):
        artifact = current_artifact(Layout(campaign), number, "labels")
        rows = read_rows(artifact.path("labels.parquet")) if artifact is not None else []
        found.update((r["record_id"], r["annotator"], str(r["verdict"])) for r in rows)
    return found
