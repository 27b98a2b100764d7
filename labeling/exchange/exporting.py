"""Export preferences as the folder of a Hugging Face dataset."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from dpo_core.atomic import write_json
from dpo_core.errors import LabelsError
from dpo_core.records import HUMAN, is_person
from dpo_core.tables import RowWriter
from labeling.exchange.card import (
    LLAMAFACTORY,
    ExportCounts,
    ExportOrigin,
    dataset_info,
    format_card,
)
from labeling.exchange.exported_pair import (
    CONVERSATIONAL,
    RANKING,
    STANDARD,
    ExportedPair,
    ExportFormat,
    exported_row,
    ranking_row,
)
from labeling.exchange.folder import new_folder

TRAIN = "data/train-00000-of-00001.parquet"
_RANKING = "preferences.parquet"


@dataclass(frozen=True)
class ExportedPreference:
    """A preference, and the number of its answers that were cut at the length limit."""

    pair: ExportedPair
    cut: int = 0


def export_pairs(
    pairs: Iterable[ExportedPreference],
    origin: ExportOrigin,
    out: Path,
    format: ExportFormat,
    licence: str,
) -> ExportCounts:
    """Write the new folder `out`. Raises LabelsError, and writes nothing, without preferences."""
    tally = ExportCounts()
    with new_folder(out) as folder:
        with ExitStack() as stack:
            writers = _writers(folder, format, stack)
            for preference in _anonymous(pairs):
                writers[0].write(exported_row(preference.pair, format))
                for ranking in writers[1:]:
                    ranking.write(ranking_row(preference.pair))
                tally.add(preference.pair)
                tally.cut += preference.cut
        if not tally.pairs:
            raise LabelsError(
                f"round {', '.join(map(str, origin.rounds))} of {origin.campaign} has no "
                "preferences",
                "Select other rounds with --rounds.",
            )
        if format == "conversational":
            info = dataset_info(origin.campaign, _RANKING)
            write_json(folder / LLAMAFACTORY / "dataset_info.json", info)
        text = format_card(origin, tally, format, licence, origin.campaign)
        (folder / "README.md").write_text(text, encoding="utf-8")
    return tally


def _anonymous(pairs: Iterable[ExportedPreference]) -> Iterator[ExportedPreference]:
    """The same with a number in place of each person's name."""
    people: dict[str, str] = {}

    def anonymise(source: str) -> str:
        return people.setdefault(source, f"{HUMAN}{len(people) + 1}")

    for preference in pairs:
        sources = tuple(anonymise(s) if is_person(s) else s for s in preference.pair.sources)
        yield replace(preference, pair=replace(preference.pair, sources=sources))


def _writers(folder: Path, format: ExportFormat, stack: ExitStack) -> list[RowWriter]:
    (folder / TRAIN).parent.mkdir()
    if format == "standard":
        return [stack.enter_context(RowWriter(folder / TRAIN, STANDARD))]
    (folder / LLAMAFACTORY).mkdir()
    return [
        stack.enter_context(RowWriter(folder / TRAIN, CONVERSATIONAL)),
        stack.enter_context(RowWriter(folder / LLAMAFACTORY / _RANKING, RANKING)),
    ]
