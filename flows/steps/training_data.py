"""Step `data`: a round's training data, where earlier rounds' preferences join its own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.step_facts import DataFacts
from dpo_core.schemas import COMPLETIONS, PREFERENCES
from dpo_core.tables import iterate_rows, read_columns, read_rows, write_rows
from flows.config import DataConfig, LastRounds, MixRounds
from flows.prefect.tasks import step
from flows.round_state import RoundRecord, TrainingData, parquet_inputs
from flows.session import Session
from labeling.pairs.training_pairs import Kind, RoundPairs, select_training_pairs

_ROWS = 512
"""Rows of a completions file in memory at a time."""


@dataclass(frozen=True)
class ReplayedRound:
    """A round whose current preferences a later round may train on."""

    round: int
    kind: Kind
    preferences: Artifact
    completions: Artifact

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.round:02d}"

    def inputs(self) -> dict[str, Input]:
        files = parquet_inputs(preferences=self.preferences, completions=self.completions)
        return {f"{kind}_{self.name}": file for kind, file in files.items()}

    def find_files(self, inputs: Inputs) -> "ReplayedFiles":
        """The files among a step's inputs."""
        files = (inputs.path(f"{what}_{self.name}") for what in ("preferences", "completions"))
        return ReplayedFiles(self.round, self.kind, *files)


@dataclass(frozen=True)
class ReplayedFiles:
    """The files of a ReplayedRound."""

    round: int
    kind: Kind
    preferences: Path
    completions: Path

    @property
    def pairs(self) -> RoundPairs:
        ids = read_columns(self.preferences, ["pair_id"])["pair_id"].to_pylist()
        return RoundPairs(self.round, self.kind, ids)


def training_data(
    session: Session, number: int, own: TrainingData, earlier: Sequence[RoundRecord]
) -> TrainingData:
    """What round `number` trains on: its own preferences, perhaps with those of earlier rounds."""
    replayed = choose_replayed(session.config.data, earlier)
    if not replayed:
        return own
    latest = ReplayedRound(number, "latest", own.preferences, own.completions)
    joined = step(data)(session, number, [*replayed, latest])
    return TrainingData(joined, joined, joined)


def choose_replayed(config: DataConfig, earlier: Sequence[RoundRecord]) -> list[ReplayedRound]:
    """The earlier rounds to train on, oldest first."""
    rounds_before = list(_iterate_rounds(earlier))
    match config.rounds:
        case "latest":
            return []
        case LastRounds(last=rounds):
            return rounds_before[max(0, len(rounds_before) - rounds + 1) :]
        case MixRounds(mix=mix):
            weights = mix.model_dump()
            return [source for source in rounds_before if weights[source.kind]]
    return rounds_before


def _iterate_rounds(earlier: Sequence[RoundRecord]) -> Iterator[ReplayedRound]:
    for number, record in enumerate(earlier, 1):
        preferences, completions = record.steps["preferences"], record.steps["completions"]
        assert preferences is not None and completions is not None, "every round trained on them"
        # A round without pairs of its own imported its preferences.
        kind: Kind = "earlier" if record.steps["pairs"] is not None else "imported"
        yield ReplayedRound(number, kind, preferences, completions)


def data(session: Session, number: int, sources: Sequence[ReplayedRound]) -> Artifact:
    """Join the preferences and completions of several rounds."""
    rounds = session.config.data.rounds
    weights: dict[Kind, float] | None = None
    if isinstance(rounds, MixRounds):
        mix = rounds.mix
        weights = {"latest": mix.latest, "earlier": mix.earlier, "imported": mix.imported}
    seed = session.seed("data", number)

    def make(folder: Path, inputs: Inputs) -> StepResult:
        files = [source.find_files(inputs) for source in sources]
        chosen = select_training_pairs([each.pairs for each in files], weights, seed)
        preferences = folder / "preferences.parquet"
        kept = write_rows(preferences, _preferences(files, chosen.kept), PREFERENCES)
        _write_completions(folder / "completions.parquet", files, chosen.kept)
        by_round = {str(n): len(pairs) for n, pairs in sorted(chosen.kept.items())}
        facts = DataFacts(pairs_by_round=by_round)
        dropped = dict(chosen.dropped)
        return StepResult(kept + sum(dropped.values()), kept, dropped, facts)

    inputs = {name: file for source in sources for name, file in source.inputs().items()}
    return session.step(
        number, "data", make, config={"weights": weights, "seed": seed}, inputs=inputs
    )


def _preferences(
    sources: Sequence[ReplayedFiles], kept: Mapping[int, frozenset[str]]
) -> Iterator[Mapping[str, object]]:
    for source in sources:
        for row in iterate_rows(source.preferences):
            if row["pair_id"] in kept[source.round]:
                yield row


def _write_completions(
    path: Path, sources: Sequence[ReplayedFiles], kept: Mapping[int, frozenset[str]]
) -> None:
    """Write the completions of the kept pairs, each once, the latest round's first.

    Those of earlier rounds lose their log-probs, because another policy sampled them.
    """
    written: set[str] = set()
    with pq.ParquetWriter(path, COMPLETIONS, compression="zstd") as writer:
        for source in reversed(sources):
            wanted = _find_named(source, kept[source.round]) - written
            written |= wanted
            for rows in _read_batches(source.completions, wanted):
                own = source.kind == "latest"
                writer.write_batch(rows if own else _drop_logps(rows))


def _find_named(source: ReplayedFiles, pairs: frozenset[str]) -> set[str]:
    rows = read_rows(source.preferences, ["pair_id", "chosen", "rejected"])
    return {r[side] for r in rows if r["pair_id"] in pairs for side in ("chosen", "rejected")}


def _read_batches(completions: Path, wanted: set[str]) -> Iterator[pa.RecordBatch]:
    ids = pa.array(sorted(wanted), pa.string())
    with pq.ParquetFile(completions) as file:
        for batch in file.iter_batches(_ROWS, use_threads=False):
            yield batch.filter(pc.is_in(batch["completion_id"], value_set=ids))


def _drop_logps(rows: pa.RecordBatch) -> pa.RecordBatch:
    name = "token_logps"
    nothing = pa.nulls(rows.num_rows, COMPLETIONS.field(name).type)
    return rows.set_column(rows.schema.get_field_index(name), COMPLETIONS.field(name), nothing)
