"""Prompt files with rows that are wrong: named by file and row, before anything is written."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from draws import Put, many, one_or_two, some, with_lines
from hypothesis import given
from in_process import PROMPTS, Workplace
from test_configs import GOOD

USER = {"role": "user", "content": "why?"}
ROWS: dict[bytes, bool] = {
    **{json.dumps({"prompt": text}).encode(): ok for text, ok in (("x", True), ("", False))},
    b'{"prompt": "  "}': False,
    b'{"prompt": 5}': False,
    b'{"prompt": null}': False,
    b'{"prompt": ["a"]}': False,
    b'{"question": "a"}': False,
    b"{}": False,
    b"[]": False,
    b"null": False,
    b"5": False,
    b'"why?"': False,
    b'{"prompt": "x"': False,
    b'{"prompt": "x"} {"prompt": "y"}': False,
    b'{"prompt": "\xff"}': False,
    b'{"prompt": "\\ud800"}': False,
    b'{"prompt": "a", "n": ' + b"9" * 5000 + b"}": False,
    b"[" * 100_000: False,
    b'{"prompt": "x", "tags": ["a"], "n": 1.5, "deep": {"er": []}}': True,
    b'{"prompt": "x", "messages": null}': True,
    b'{"prompt": "x", "messages": []}': False,
    json.dumps({"messages": [USER]}).encode(): True,
    json.dumps({"messages": [{"role": "system", "content": ""}, USER]}).encode(): True,
    json.dumps({"messages": [USER, {"role": "assistant", "content": "x"}]}).encode(): False,
    json.dumps({"messages": [{"role": "robot", "content": "x"}]}).encode(): False,
    json.dumps({"messages": [{"role": "user", "content": None}]}).encode(): False,
    json.dumps({"messages": {"role": "user", "content": "x"}}).encode(): False,
    json.dumps({"messages": "why?"}).encode(): False,
    b"": True,
    b"   ": True,
}
"""A line of the file, and whether it may stand there."""

LINES = one_or_two(ROWS, first=0, last=60)


def check_lines(workplace: Workplace, put: Put) -> None:
    lines = with_lines(PROMPTS.encode().splitlines(), put)
    workplace.write("prompts.jsonl", b"\n".join(lines) + b"\n")
    workplace.write("c.yaml", yaml.safe_dump(GOOD))
    ended = workplace.ratchet("run", "c.yaml")
    wrong = [number for number, line in enumerate(lines, 1) if not ROWS.get(line, True)]
    if wrong:
        ended.assert_refused(f"prompts.jsonl:{wrong[0]}")
    else:
        assert ended.code == "accepted", (put, ended)


@some(30)
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


def parquet(path: Path, **columns: Any) -> bytes:
    pq.write_table(pa.table(columns), path)
    content = path.read_bytes()
    path.unlink()
    return content


def test_parquet_files(workplace: Workplace) -> None:
    texts = [f"What is {n}?" for n in range(60)]
    good = parquet(workplace.folder / "made", prompt=texts)
    broken = pa.array([b"\xff", *[text.encode() for text in texts]]).cast(pa.binary())
    never = pa.array([2**62] * 60, pa.timestamp("ms"))
    files = {
        "good": (good, None),
        "empty": (b"", "prompts.parquet"),
        "cut": (good[:-20], "prompts.parquet"),
        "zeros": (good[:40] + bytes(200) + good[240:], "prompts.parquet"),
        "no text": (
            parquet(
                workplace.folder / "made",
                prompt=pa.Array.from_buffers(pa.string(), 61, broken.buffers()),
            ),
            "prompts.parquet",
        ),
        "no day": (parquet(workplace.folder / "made", prompt=texts, at=never), "prompts.parquet"),
        "numbers": (parquet(workplace.folder / "made", prompt=list(range(60))), "row 1"),
    }
    workplace.write("c.yaml", yaml.safe_dump({**GOOD, "prompts": {"path": "prompts.parquet"}}))
    for name, (content, place) in files.items():
        workplace.write("prompts.parquet", content)
        ended = workplace.ratchet("run", "c.yaml")
        if place is None:
            assert ended.code == "accepted", (name, ended)
        else:
            ended.assert_refused(place)


def test_a_split_without_prompts(workplace: Workplace) -> None:
    workplace.write("prompts.jsonl", '{"prompt": "why?"}\n')
    workplace.write("c.yaml", yaml.safe_dump(GOOD))
    workplace.ratchet("run", "c.yaml").assert_refused("none of the 1 prompts falls into the")


@pytest.mark.parametrize(
    "line", [b"{}", b"5", b"{", b'{"prompt": "x", "completion": "\xff"}', b"[" * 100_000]
)
def test_rows_of_a_warm_start(workplace: Workplace, line: bytes) -> None:
    good = b'{"prompt": "x", "completion": "y"}\n'
    workplace.write("c.yaml", yaml.safe_dump({**GOOD, "sft": {"path": "sft.jsonl"}}))
    workplace.write("sft.jsonl", good + b"\n" + good)
    assert workplace.ratchet("run", "c.yaml").code == "accepted"
    workplace.write("sft.jsonl", good + line + b"\n")
    workplace.ratchet("run", "c.yaml").assert_refused("sft.jsonl")
