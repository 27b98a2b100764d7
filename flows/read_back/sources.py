"""Who said what in a round: the sources of its judgements, and which of them were taken back."""

from collections import Counter
from collections.abc import Collection

from dpo_core.campaign.store import Artifact
from dpo_core.tables import read_columns
from flows.session import Session
from labeling.aggregation.votes import person

_FILES = {"judgements": ("judgements.parquet", "source"), "labels": ("labels.parquet", "annotator")}
"""step → (its file, the column that says who)"""


def count_by_source(*made: Artifact | None) -> Counter[str]:
    """source → its judgements in the artifacts, of steps judgements and labels."""
    counts = Counter[str]()
    for artifact in filter(None, made):
        counts += _counted(artifact)
    return counts


def occurring(retracted: Collection[str], *made: Artifact | None) -> list[str]:
    """Those of the retracted sources that said something; others are no concern of a round."""
    return sorted(count_by_source(*made).keys() & set(retracted)) if retracted else []


def sources_ever(session: Session) -> set[str]:
    """Every source that ever judged something in the campaign, also in rounds not valid now."""
    found = set[str]()
    for entry in session.store.entries:
        folder = session.layout.step(entry.round, entry.step, entry.fingerprint)
        if entry.step in _FILES and folder.exists():
            found |= _counted(Artifact(folder, entry, cached=True)).keys()
    return found


def _counted(artifact: Artifact) -> Counter[str]:
    name, column = _FILES[artifact.entry.step]
    counts = read_columns(artifact.path(name), [column])[column].value_counts().to_pylist()
    named = person if artifact.entry.step == "labels" else str
    return Counter({named(each["values"]): each["counts"] for each in counts})
