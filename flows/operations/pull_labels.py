"""`ratchet labels pull`: answers that came after a round had its labels."""

from pathlib import Path

from rich.console import Console

from dpo_core.campaign.artifacts import Artifact, current_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.errors import LabelsError
from dpo_core.tables import read_rows
from dpo_core.text import counted
from flows.config import CampaignConfig, read_stored
from flows.people import server_access
from labeling.people.answers import label_rows, latest_answers
from labeling.people.log import LabelLog, RoundLog


def pull_labels(root: Path, number: int | None, console: Console) -> None:
    """Read the answers of every asked round, or of one, and let those in that change its labels.

    What was read stays in the campaign. Raises LabelsError for a round that asked nobody.
    """
    layout = Layout(root)
    config = read_stored(layout)
    numbers = [n for n in range(1, config.rounds + 1) if layout.labels(n).exists()]
    wanted = numbers if number is None else [n for n in numbers if n == number]
    if not wanted:
        which = "no round" if number is None else f"no round {number}"
        raise LabelsError(
            f"{which} of {root} has asked people",
            "Rounds ask where a judge is of kind human, once `ratchet run` has come to them.",
        )
    changed = [n for n in wanted if _pull(layout, config, n, console)]
    if changed:
        console.print("`ratchet run` re-runs what depends on them.", highlight=False)


def _pull(layout: Layout, config: CampaignConfig, number: int, console: Console) -> bool:
    """Whether the round's labels are other ones now."""
    log = LabelLog(layout.labels(number))
    seen = _read_answers(log, config)
    made = current_artifact(layout, number, "labels")
    changed = made is not None and _differs(made, log.read())
    if changed:
        log.log_pulled()
    if made is None:
        what = "the round still waits for people"
    elif changed:
        what = "its labels change"
    else:
        what = "its labels stay as they are"
    console.print(f"round {number}: {counted(seen, 'new answer')}; {what}", highlight=False)
    return changed


def _read_answers(log: LabelLog, config: CampaignConfig) -> int:
    """How many versions of answers the log had not seen."""
    from labeling.people.argilla_queue import ArgillaQueue
    from labeling.people.asking import collect

    name = log.read().dataset
    with ArgillaQueue(server_access(config.people_config), config.people_config.workspace) as queue:
        dataset = queue.find(name) if name else None
        if dataset is None:  # removed there; what was seen of it is kept here
            return 0
        return collect(queue, dataset, log, lambda done, total, unit: None).new


def _differs(made: Artifact, log: RoundLog) -> bool:
    asked = {row["record_id"] for row in read_rows(made.path("asked.parquet"), ["record_id"])}
    records = [log.asked[record] for record in asked if record in log.asked]
    return list(label_rows(records, latest_answers(log.answers.values()))) != _rows(made)


def _rows(made: Artifact) -> list[dict[str, object]]:
    return read_rows(made.path("labels.parquet"))
