"""A campaign's steps for reading, and those of one round made again elsewhere and compared."""

import json
import math
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.campaign.artifacts import Artifact, StepResult, current_artifact
from dpo_core.campaign.layout import joined_in
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.metric_columns import drop_volatile
from dpo_core.campaign.remote import is_somewhere
from dpo_core.campaign.store import Recipe, Store
from dpo_core.errors import BadInput, InputGone, NotRemembered, PromptError
from dpo_core.schemas import volatile_columns
from dpo_core.text import visible

_ROUND = "metrics.json"
_SHOWN = 60


def difference(recorded: Path, again: Path) -> str | None:
    """The first difference of two files of one name whose bytes differ; None where only volatile
    parts do."""
    match recorded.suffix:
        case ".parquet":
            return _in_tables(pq.read_table(recorded), pq.read_table(again))
        case ".json":
            return _in_json(recorded, again)
        case ".safetensors":
            return _in_tensors(recorded.read_bytes(), again.read_bytes())
    return "its bytes differ"


def _in_tables(recorded: pa.Table, again: pa.Table) -> str | None:
    volatile = volatile_columns(recorded.schema)
    old, new = (
        table.drop_columns([n for n in volatile if n in table.column_names])
        for table in (recorded, again)
    )
    if old.column_names != new.column_names:
        return f"columns {', '.join(old.column_names)} then, {', '.join(new.column_names)} now"
    if len(old) != len(new):
        return f"{len(old):,} rows then, {len(new):,} now"
    for name in old.column_names:
        if not old[name].equals(new[name]):
            difference = _first(old[name].to_pylist(), new[name].to_pylist())
            if difference is not None:
                row, before, now = difference
                return f"column {name}, row {row}: {_short(before)} then, {_short(now)} now"
    return None if volatile else "the rows are equal, the bytes of the file are not"


def _first(old: list[Any], new: list[Any]) -> tuple[int, Any, Any] | None:
    """(row, value then, value now) of the first difference."""
    pairs = enumerate(zip(old, new, strict=True))
    return next(((row, a, b) for row, (a, b) in pairs if not _equal(a, b)), None)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        # NaN equals nothing, and −0 equals 0; their bits say what is meant.
        return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def _in_json(recorded: Path, again: Path) -> str | None:
    """The first value that differs; the order of keys is no difference."""
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (recorded, again))
    if recorded.name == _ROUND:
        old, new = drop_volatile(old), drop_volatile(new)
    return next(_places(_without_sentences(old), _without_sentences(new), ""), None)


_SENTENCES = ("decision", "reasons", "sentence")


def _without_sentences(value: Any) -> Any:
    """The numbers and names: another version of Ratchet words its sentences otherwise."""
    if isinstance(value, list):
        return [_without_sentences(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: sorted(inner)
        if key == "warnings" and isinstance(inner, dict)
        else _without_sentences(inner)
        for key, inner in value.items()
        if key not in _SENTENCES
    }


def _places(old: Any, new: Any, where: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _places(old.get(key), new.get(key), f"{where}.{key}" if where else str(key))
    elif not _equal(old, new):
        yield f"{where}: {_short(old)} then, {_short(new)} now"


def _in_tensors(recorded: bytes, again: bytes) -> str:
    old, new = _tensors(recorded), _tensors(again)
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            return f"tensor {name}"
    return "its header"


def _tensors(file: bytes) -> Mapping[str, tuple[Any, bytes]]:
    """name → (dtype and shape, bytes), as the format of safetensors has it."""
    (length,) = struct.unpack("<Q", file[:8])
    header, body = json.loads(file[8 : 8 + length]), file[8 + length :]
    header.pop("__metadata__", None)
    return {
        name: ((tensor["dtype"], tensor["shape"]), body[slice(*tensor["data_offsets"])])
        for name, tensor in header.items()
    }


def _short(value: Any) -> str:
    text = visible(repr(value))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


_FROM_A_POOL = {"held_out", "prompts"}
"""Steps that draw from prompts which may have become others since; the draw is what is recorded."""


@dataclass(frozen=True)
class RecomputedStep:
    """A step of the round: made again and equal, or not, or taken as it was recorded.

    said: the first difference, or why it was taken; volatile: files that differ where they may.
    """

    step: str
    found: Literal["equal", "differs", "taken"]
    said: str = ""
    files: int = 0
    volatile: int = 0
    seconds: float = 0.0


class Recomputation:
    """Finds every step in a campaign, which it only reads, and makes those of one round again.

    A step of round `number` is made in `scratch`, from the recorded outputs of the steps before
    it: so each is checked by itself, whatever became of the others.
    """

    def __init__(
        self,
        store: Store,
        number: int,
        scratch: Path,
        tell: Callable[[RecomputedStep], None],
    ) -> None:
        self._store = store
        self._number = number
        self._again = Store(scratch, store.threads)
        self._tell = tell

    def run(self, recipe: Recipe, make: Callable[[Path], StepResult]) -> Artifact:
        finished = self._store.find(recipe)
        recorded = finished or self._valid(recipe.round, recipe.step)
        if recipe.round != self._number:
            return replace(recorded, cached=True)
        again = self._made_again(recipe, make, recorded, other_recipe=finished is None)
        return self._whole(recorded, again)

    def as_recorded(self, number: int, step: str) -> Artifact | None:
        """What people said: nobody is asked again, and what they were shown may be gone."""
        recorded = self._valid(number, step)
        if number == self._number:
            self._tell(RecomputedStep(step, "taken", "people's answers, from the round's log"))
        return recorded

    def _valid(self, number: int, step: str) -> Artifact:
        recorded = current_artifact(self._store.layout, number, step)
        if recorded is None:
            raise BadInput(
                f"round {number} has no finished step {step}, or it is not valid now",
                "Only finished rounds can be computed again; `ratchet run` finishes them.",
            )
        return recorded

    def _made_again(
        self,
        recipe: Recipe,
        make: Callable[[Path], StepResult],
        recorded: Artifact,
        other_recipe: bool,
    ) -> Artifact | None:
        began = time.monotonic()
        try:
            again = self._again.run(recipe, make)
        except (NotRemembered, InputGone) as missing:
            self._tell(RecomputedStep(recipe.step, "taken", missing.message))
            return None
        except (PromptError, OSError) as error:
            if not _from_a_pool(recipe.step):
                raise
            self._tell(RecomputedStep(recipe.step, "taken", f"the prompts are gone: {error}"))
            return None
        checked = _compared(recorded, again, time.monotonic() - began)
        if _from_a_pool(recipe.step) and checked.found == "differs":
            checked = _about_the_pool(checked, recorded, again)
        elif other_recipe:
            checked = replace(checked, found="differs", said=_OTHER_RECIPE + checked.said)
        elif checked.found == "differs" and _had_more(recorded.entry):
            checked = replace(checked, found="taken", said=_HAD_MORE)
        self._tell(checked)
        return again

    def _whole(self, recorded: Artifact, again: Artifact | None) -> Artifact:
        """What later steps read: the recorded step, or the new one where some of it was pruned."""
        outputs = recorded.entry.outputs
        lost = not all(is_somewhere(recorded.folder, name) for name in outputs)
        if not lost or again is None:
            return recorded
        return replace(recorded, folder=again.folder, made_again=again.entry.outputs)


def _from_a_pool(step: str) -> bool:
    return joined_in(step) in _FROM_A_POOL


def _had_more(entry: Entry) -> bool:
    """Whether an older version of Ratchet asked for more in this step than today's does."""
    return entry.step == "answer_logps" and entry.identity < _OF_TEST_PROMPTS


_OF_TEST_PROMPTS = 3
"""The identity since which log-probs are had of answers to test prompts alone."""
_HAD_MORE = "as it was recorded, which was of answers to gate prompts too"
_OTHER_RECIPE = "its config, inputs or user code are not those that the ledger recorded; "


def _compared(recorded: Artifact, again: Artifact, seconds: float) -> RecomputedStep:
    step, old, new = recorded.entry.step, recorded.entry.outputs, again.entry.outputs
    volatile = 0
    for name in dict.fromkeys([*old, *new]):
        said = _parted(name, recorded, again)
        if said is not None:
            said = f"{name}: {said}" + _versions(recorded, again)
            return RecomputedStep(step, "differs", said, len(old), volatile, seconds)
        volatile += old[name] != new[name]
    return RecomputedStep(step, "equal", "", len(old), volatile, seconds)


def _parted(name: str, recorded: Artifact, again: Artifact) -> str | None:
    """How an output differs; None where it does not."""
    old, new = recorded.entry.outputs.get(name), again.entry.outputs.get(name)
    if old is None or new is None:
        return "there now, not recorded" if old is None else "recorded, not there now"
    if old == new:
        return None
    if not recorded.path(name).exists():
        return f"sha256 {old[:16]}… then, {new[:16]}… now (the recorded file was pruned)"
    return difference(recorded.path(name), again.path(name))


def _versions(recorded: Artifact, again: Artifact) -> str:
    old: Mapping[str, str] = recorded.entry.versions
    new: Mapping[str, str] = again.entry.versions
    other = [
        f"{name} {old[name]} then, {new[name]} now"
        for name in old
        if name in new and old[name] != new[name]
    ]
    return f" (versions: {'; '.join(other)})" if other else ""


def _about_the_pool(checked: RecomputedStep, recorded: Artifact, again: Artifact) -> RecomputedStep:
    """A draw from another pool says nothing of the round: what was drawn is recorded."""
    then, now = recorded.entry.came_in, again.entry.came_in
    if then == now:
        return checked
    message = f"as it was drawn: the pool has {now:,} prompts now and had {then:,}"
    return replace(checked, found="taken", said=message)
