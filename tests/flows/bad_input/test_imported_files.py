"""Preferences of others, of which some rows are wrong: those are listed, the others are kept."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from draws import Put, many, one_or_two, some, with_lines
from hypothesis import given
from hypothesis import strategies as st
from in_process import Workplace
from test_configs import GOOD


def pair(**changes: object) -> bytes:
    return json.dumps({"prompt": "Why?", "chosen": "So.", "rejected": "No.", **changes}).encode()


ROWS: dict[bytes, str] = {
    pair(): "kept",
    pair(chosen=[{"role": "assistant", "content": "So."}]): "kept",
    pair(chosen="So. ", rejected="So. "): "identical",
    pair(p_chosen=0.5): "tie",
    pair(p_chosen=0.7): "kept",
    pair(p_chosen=0.2): "unreadable",
    pair(p_chosen=1.2): "unreadable",
    pair(p_chosen=True): "unreadable",
    pair(p_chosen=float("nan")): "unreadable",
    pair(agreement="high"): "unreadable",
    pair(prompt=""): "unreadable",
    pair(prompt=5): "unreadable",
    pair(prompt=None): "unreadable",
    pair(chosen=""): "unreadable",
    pair(chosen=None): "unreadable",
    pair(chosen=5): "unreadable",
    pair(chosen="a\0b"): "unreadable",
    pair(rejected="\ud800"): "unreadable",
    pair(system=5): "unreadable",
    b"[]": "unreadable",
    b"5": "unreadable",
    b"{}": "unreadable",
    b'{"chosen"': "unreadable",
    b'"\xff"': "unreadable",
    b"[" * 100_000: "unreadable",
    b'{"n": ' + b"9" * 5000 + b"}": "unreadable",
}
"""A line of JSON, and what becomes of it beside good ones."""

LINES = one_or_two(ROWS, first=1, last=5)
_NUMBERS: Iterator[int] = iter(range(10**9))


def check_lines(workplace: Workplace, put: Put) -> None:
    lines = with_lines([pair(prompt=f"What is {n}?") for n in range(5)], put)
    workplace.write("theirs.jsonl", b"\n".join(lines) + b"\n")
    out = f"out-{next(_NUMBERS)}"
    ended = workplace.ratchet("import", "theirs.jsonl", out)
    assert ended.code == 0, ended
    made = json.loads((workplace.folder / out / "import.json").read_text())
    said = [ROWS.get(line, "kept") for line in lines]
    distinct = {line for line, what in zip(lines, said, strict=True) if what == "kept"}
    assert made["unreadable"] == said.count("unreadable"), ended.out
    assert made["dropped"].get("tie", 0) == said.count("tie")
    assert made["kept"] == len({json.loads(line)["prompt"] for line in distinct})
    for number, what in enumerate(said, 1):
        assert (f"theirs.jsonl:{number}: " in ended.out) == (what == "unreadable"), ended.out


@some(25)
@given(put=LINES)
def test_lines(workplace: Workplace, put: Put) -> None:
    check_lines(workplace, put)


@pytest.mark.proof
@many(600)
@given(put=LINES)
def test_many_lines(workplace: Workplace, put: Put) -> None:
    check_lines(workplace, put)


@pytest.mark.parametrize("line", sorted(ROWS), ids=range(len(ROWS)))
def test_each_line(workplace: Workplace, line: bytes) -> None:
    check_lines(workplace, [(2, line)])
    if ROWS[line] != "kept":
        workplace.write("theirs.jsonl", line + b"\n")
        workplace.ratchet("import", "theirs.jsonl", "nothing").assert_refused("theirs.jsonl")


def _parquet(path: Path) -> None:
    rows = [json.loads(pair(prompt=f"What is {n}?")) for n in range(50)]
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd", write_page_checksum=True)


def _arrow(path: Path) -> None:
    table = pa.Table.from_pylist([json.loads(pair(prompt=f"What is {n}?")) for n in range(50)])
    with pa.ipc.new_stream(str(path), table.schema) as stream:
        stream.write_table(table)


def _zipped(path: Path) -> None:
    lines = b"\n".join(pair(prompt=f"What is {n}?") for n in range(50))
    path.write_bytes(gzip.compress(lines, mtime=0))


def _csv(path: Path) -> None:
    rows = "".join(f'"What is {n}?",So.,No.,a\n' for n in range(50))
    path.write_text("prompt,a,b,verdict\n" + rows)


FILES: dict[str, Callable[[Path], None]] = {
    "theirs.parquet": _parquet,
    "theirs.arrow": _arrow,
    "theirs.jsonl.gz": _zipped,
    "theirs.csv": _csv,
}


def check_damage(workplace: Workplace, name: str, at: float, harm: str) -> None:
    """Whatever is damaged: the rows that can be read, or one message that names the file."""
    path = workplace.folder / name
    FILES[name](path)
    content = bytearray(path.read_bytes())
    place = int(at * (len(content) - 1))
    if harm == "cut":
        del content[place:]
    elif harm == "quote":
        content[place:place] = b'"'
    else:
        content[place] ^= 1 << int(harm)
    workplace.write(name, bytes(content))
    ended = workplace.ratchet("import", name, f"out-{next(_NUMBERS)}")
    if ended.code != 0:
        ended.assert_refused(name)


DAMAGE = st.tuples(
    st.sampled_from(sorted(FILES)),
    st.floats(0, 1),
    st.sampled_from(["cut", "quote", *map(str, range(8))]),
)


@some(25)
@given(damage=DAMAGE)
def test_damaged_files(workplace: Workplace, damage: tuple[str, float, str]) -> None:
    check_damage(workplace, *damage)


@pytest.mark.proof
@many(600)
@given(damage=DAMAGE)
def test_many_damaged_files(workplace: Workplace, damage: tuple[str, float, str]) -> None:
    check_damage(workplace, *damage)


def test_what_damage_was_found(workplace: Workplace) -> None:
    """Errors that Arrow and zlib call otherwise than expected, and a header that breaks off."""
    for name, at, harm in (
        *(("theirs.parquet", at / 40, "3") for at in range(40)),
        *(("theirs.jsonl.gz", at / 20, "5") for at in range(20)),
        ("theirs.csv", 0.0, "quote"),
    ):
        check_damage(workplace, name, at, harm)
    never = pa.table({"prompt": ["Why?"], "at": pa.array([2**62], pa.timestamp("ms"))})
    pq.write_table(never, workplace.folder / "theirs.parquet")
    workplace.write("theirs.parquet", (workplace.folder / "theirs.parquet").read_bytes())
    workplace.ratchet("import", "theirs.parquet", "never").assert_refused("theirs.parquet row 1")


def test_an_imported_folder_that_is_none(workplace: Workplace) -> None:
    (workplace.folder / "imported").mkdir()
    workplace.write("c.yaml", yaml.safe_dump({**GOOD, "data": {"imported": "imported"}}))
    for content in (b"", b"x" * 100):
        workplace.write("imported/pairs.parquet", content)
        workplace.ratchet("run", "c.yaml").assert_refused("imported/pairs.parquet")
    _parquet(workplace.folder / "imported" / "pairs.parquet")
    workplace.write("c.yaml", yaml.safe_dump({**GOOD, "data": {"imported": "imported"}}))
    workplace.ratchet("run", "c.yaml").assert_refused("it has no pair_id")
