"""The ledger: append-only, flushed, and forgiving about a line that a crash tore."""

from dataclasses import asdict
from pathlib import Path

import pytest

from dpo_core.campaign.ledger import Entry, Ledger
from dpo_core.errors import ArtifactCorrupted
from dpo_core.sealed import read_sealed

FIRST = Entry(1, "prompts", "aa", {"x": "1"}, {"p.parquet": "2"}, 5, 3, {"naïve – reason": 2})
SECOND = Entry(1, "scores", "bb", facts={"tokens": 7, "text": "line\nbreak"})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "campaign" / "ledger.jsonl")


def test_what_is_appended_is_read_back_in_order(ledger: Ledger) -> None:
    assert ledger.read() == []
    ledger.append(FIRST)
    ledger.append(SECOND)
    assert ledger.read() == [FIRST, SECOND]
    lines = ledger.path.read_bytes().splitlines()
    assert [read_sealed(line) for line in lines] == [(asdict(FIRST), True), (asdict(SECOND), True)]


def test_a_line_torn_at_any_byte_is_left_out_and_replaced_by_the_next(ledger: Ledger) -> None:
    ledger.append(FIRST)
    whole = ledger.path.read_bytes()
    ledger.append(SECOND)
    both = ledger.path.read_bytes()
    for end in range(len(whole), len(both)):
        ledger.path.write_bytes(both[:end])
        assert ledger.read() == [FIRST]
    ledger.append(SECOND)
    assert ledger.path.read_bytes() == both


def test_a_first_line_torn(ledger: Ledger) -> None:
    ledger.path.parent.mkdir()
    ledger.path.write_bytes(b'{"round": 1, "st')
    assert ledger.read() == []
    ledger.append(FIRST)
    assert ledger.read() == [FIRST]


@pytest.mark.parametrize("line", ["not json", "[]", '{"round": 1}', '{"unknown": 1}', "\0\0\0"])
def test_a_broken_line_in_the_middle_is_an_error_with_its_number(ledger: Ledger, line: str) -> None:
    ledger.append(FIRST)
    with ledger.path.open("a") as file:
        file.write(line + "\n")
    ledger.append(SECOND)
    with pytest.raises(ArtifactCorrupted, match="line 2") as caught:
        ledger.read()
    assert "remove that line" in caught.value.remedy
