"""The log of a round's labels: what a flipped bit does to it, and what earlier versions left."""

from pathlib import Path

import pytest

from dpo_core.errors import ArtifactCorrupted
from labeling.people.answers import SubmittedAnswer
from labeling.people.log import LabelLog
from labeling.people.task import RecordMetadata
from tests.resealed import reseal, unseal

RECORD = RecordMetadata("r1", "p1", "pair", "a", None, "blind", "at random")
ANSWER = SubmittedAnswer(
    "l1", "r1", "ann", "u1", "submitted", "a", 2, "naïve “J*”", "2026-01-05T10:00:00"
)


@pytest.fixture
def log(tmp_path: Path) -> LabelLog:
    log = LabelLog(tmp_path / "labels" / "01.jsonl")
    log.log_opened("campaign, round 1", "5eed", "campaign-5ee", continuation=True)
    log.log_asked([RECORD])
    log.log_planned(["r1"], "plan")
    assert log.add([ANSWER], {}) == 1
    log.log_pulled()
    return log


def test_no_flipped_bit_changes_what_people_said(log: LabelLog) -> None:
    content, expected = log.path.read_bytes(), log.read()
    assert expected.answers == {ANSWER.version: ANSWER} and expected.pulls == 1
    for at in range(len(content)):
        bit = at % 8
        log.path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        try:
            assert log.read() == expected, (at, bit)
        except ArtifactCorrupted as error:
            assert str(log.path) in error.message and error.remedy


def test_a_line_that_says_something_else_is_no_line_of_a_log(log: LabelLog) -> None:
    reseal(log.path, lambda event: event.pop("annotator", None))
    with pytest.raises(ArtifactCorrupted, match="line 4 is not a line of a label log"):
        log.read()


def test_logs_of_earlier_versions_with_their_torn_lines(log: LabelLog) -> None:
    expected = log.read()
    unseal(log.path)
    lines = log.path.read_bytes().splitlines(keepends=True)
    torn = lines[3][:40] + b"\n"
    log.path.write_bytes(b"".join([*lines[:3], torn, *lines[3:], lines[0][:20]]))
    assert log.read() == expected
    log.log_pulled()
    assert log.read().pulls == expected.pulls + 1
    assert log.read().answers == expected.answers
