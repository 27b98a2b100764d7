"""`ratchet labels pull`: collect answers that came after a round finished labelling."""

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
    """Read new answers of round `number` (None: all that asked people), and apply them.

    Raises LabelsError for a round that asked nobody.
    """
    layout = Layout(root)
    config = read_stored(layout)
    numbers = [n for n in range(1, config.rounds + 1) if layout.labels(n).exists()]
    wanted = numbers if number is None else [n for n in numbers if n == number]
    if not wanted:
        which = "no round" if number is None else f"no round {number}"
        raise LabelsError(
            f"{which} of {root} has asked people",
            "A round asks people if a judge is of kind human, once `ratchet run` reaches it.",
        )
    changed = [n for n in wanted if _pull(layout, config, n, console)]
    if changed:
        console.print("`ratchet run` runs again what depends on them.", highlight=False)


def _pull(layout: Layout, config: CampaignConfig, number: int, console: Console) -> bool:
    """Pull one round; returns whether its labels changed."""
    log = LabelLog(layout.labels(number))
    seen = _read_answers(log, config)
    labels = current_artifact(layout, number, "labels")
    changed = labels is not None and _differs(labels, log.read())
    if changed:
        log.log_pulled()
    if labels is None:
        what = "the round still waits for labels"
    else:
        what = "its labels change" if changed else "its labels do not change"
    console.print(f"round {number}: {counted(seen, 'new answer')}; {what}", highlight=False)
    return changed


def _read_answers(log: LabelLog, config: CampaignConfig) -> int:
    """Collect from the server; returns how many answers are new or edited."""
    from labeling.people.argilla_queue import ArgillaQueue
    from labeling.people.asking import collect

    name = log.read().dataset
    with ArgillaQueue(server_access(config.people_config), config.people_config.workspace) as queue:
        dataset = queue.find(name) if name else None
        if dataset is None:  # deleted on the server; the log keeps what was collected
            return 0
        return collect(queue, dataset, log, lambda done, total, unit: None).new


def _differs(labels: Artifact, log: RoundLog) -> bool:
    asked = {row["record_id"] for row in read_rows(labels.path("asked.parquet"), ["record_id"])}
    records = [log.asked[record] for record in asked if record in log.asked]
    rows = list(label_rows(records, latest_answers(log.answers.values())))
    return rows != read_rows(labels.path("labels.parquet"))
