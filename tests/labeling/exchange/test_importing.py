"""Preference sets of others: what each format says, and what becomes of unreadable rows."""

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies

from dpo_core.errors import LabelsError
from dpo_core.schemas import IMPORTED
from dpo_core.tables import read_rows
from labeling.exchange.formats.kinds import FORMATS, read_as
from labeling.exchange.imported_pair import ImportedPair, UnreadableRow, imported_row
from labeling.exchange.importing import ImportOptions, ImportResult, import_files, parse_columns

HUMAN = {"role": "user", "content": "Why?"}
SYSTEM = {"role": "system", "content": "Be brief."}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def imported(
    tmp_path: Path, *files: Path, **options: Any
) -> tuple[ImportResult, list[dict[str, Any]], list[dict[str, str]]]:
    """(result, pairs, rejected rows)."""
    out = tmp_path / "out"
    result = import_files(files, out, ImportOptions(**options))
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    return result, read_rows(out / "pairs.parquet"), rejected


def one(tmp_path: Path, row: dict[str, Any], **options: Any) -> dict[str, Any]:
    _, [pair], _ = imported(tmp_path, lines(tmp_path / "rows.jsonl", [row]), **options)
    return pair


def refusal(tmp_path: Path, row: Any) -> str:
    """Why a row cannot be read, beside one that can."""
    good = {"prompt": "Q", "chosen": "good", "rejected": "bad"}
    _, _, [problem] = imported(tmp_path, lines(tmp_path / "rows.jsonl", [good, row]))
    assert problem["where"].endswith(":2")
    return problem["reason"]


PREFERENCES = {
    "standard": {"prompt": "Why?", "chosen": "yes", "rejected": "no"},
    "conversational": {
        "prompt": [SYSTEM, HUMAN],
        "chosen": [answer("yes")],
        "rejected": [answer("no")],
    },
    "implicit prompt": {
        "chosen": [SYSTEM, HUMAN, answer("yes")],
        "rejected": [SYSTEM, HUMAN, answer("no")],
    },
    "prompt repeated": {
        "prompt": "Why?",
        "chosen": [SYSTEM, HUMAN, answer("yes")],
        "rejected": [SYSTEM, HUMAN, answer("no")],
    },
    "system beside it": {
        "system": "Be brief.",
        "question": "Why?",
        "chosen": "yes",
        "rejected": "no",
    },
    "sharegpt": {
        "prompt": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Why?"}],
        "chosen": {"from": "gpt", "value": "yes"},
        "rejected": {"from": "gpt", "value": "no"},
    },
    "parts of a message": {
        "prompt": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": "Why?"}]}],
        "chosen": "yes",
        "rejected": "no",
    },
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_preferences_as_others_spell_them(tmp_path: Path, name: str) -> None:
    pair = one(tmp_path, PREFERENCES[name])
    assert (pair["chosen"], pair["rejected"], pair["p_chosen"]) == ("yes", "no", 1.0)
    if name == "standard":
        assert (pair["prompt"], pair["messages"]) == ("Why?", None)
    else:
        assert (pair["prompt"], pair["messages"]) == (None, [SYSTEM, HUMAN])


def test_a_soft_label_its_sources_and_what_was_plain_are_kept(tmp_path: Path) -> None:
    row = {"prompt": [HUMAN], "chosen": [answer("yes")], "rejected": [answer("no")]}
    told = {"p_chosen": 0.75, "sources": ["rule:x", "human"], "agreement": 0.5, "plain": True}
    pair = one(tmp_path, {**row, **told})
    assert {name: pair[name] for name in ("p_chosen", "sources", "agreement")} == {
        "p_chosen": 0.75,
        "sources": ["rule:x", "human"],
        "agreement": 0.5,
    }
    assert (pair["prompt"], pair["messages"]) == ("Why?", None)


def test_a_transcript_of_several_turns(tmp_path: Path) -> None:
    shared = "\n\nHuman: Hi\n\nAssistant: Hello\nthere\n\nHuman: Human: or not?\n\nAssistant:"
    pair = one(tmp_path, {"chosen": shared + " yes", "rejected": shared + " no"})
    assert pair["messages"] == [
        {"role": "user", "content": "Hi"},
        answer("Hello\nthere"),
        {"role": "user", "content": "Human: or not?"},
    ]
    assert (pair["chosen"], pair["rejected"]) == ("yes", "no")


def test_the_best_rated_answer_against_the_worst(tmp_path: Path) -> None:
    def rated(*scores: Any, name: str = "overall_score") -> list[dict[str, Any]]:
        return [{"response": f"answer {n}", name: score} for n, score in enumerate(scores)]

    rows = [
        {"instruction": "1", "completions": rated(3, 5.0, "1", "N/A")},  # as text; one unrated
        {"instruction": "2", "completions": rated(4, 4)},
        {"instruction": "3", "completions": rated(4, None)},
        {"prompt": "4", "generations": ["low", "high"], "ratings": [1, 2]},
        {"instruction": "5", "completions": rated(1, 2, name="rating")},
    ]
    result, pairs, rejected = imported(tmp_path, lines(tmp_path / "uf.jsonl", rows))
    assert [(p["prompt"], p["chosen"], p["rejected"]) for p in pairs] == [
        ("1", "answer 1", "answer 2"),
        ("4", "high", "low"),
        ("5", "answer 1", "answer 0"),
    ]
    assert result.dropped == {"tie": 1, "unrated": 1}
    assert rejected == []


def table(path: Path, header: str, *rows: tuple[str, ...], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)  # ends lines with \r\n
        writer.writerow(header.split())
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_two_answers_and_a_verdict(tmp_path: Path, delimiter: str) -> None:
    verdicts = ["a", "B ", "1", "2", "answer_b", "tie", "Both bad", "perhaps", ""]
    rows = [(f"Q{n}", "left\nside", 'the "right"', v) for n, v in enumerate(verdicts)]
    path = table(
        tmp_path / "t.csv", "Question answer_a answer_b Winner", *rows, delimiter=delimiter
    )
    result, pairs, rejected = imported(tmp_path, path)
    a, b = "left\nside", 'the "right"'
    assert [p["chosen"] for p in pairs] == [a, b, a, b, b]
    assert [p["rejected"] for p in pairs] == [b, a, b, a, a]
    assert result.dropped == {"tie": 1, "both_bad": 1}
    # Each record takes two lines: the eighth begins on line 1 + 7 · 2 + 1.
    assert [(p["where"], p["reason"]) for p in rejected] == [
        (f"{path}:16", "the verdict 'perhaps' is none of a, b, tie, both_bad, 1, 2"),
        (f"{path}:18", "the verdict '' is none of a, b, tie, both_bad, 1, 2"),
    ]


def test_columns_of_a_table_by_name(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "task x y better verdict", ("Q", "1st", "2nd", "b", "ignore"))
    columns = parse_columns("prompt=task, a=x, b=y, verdict=better")
    _, [pair], _ = imported(tmp_path, path, columns=columns)
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == ("Q", "2nd", "1st")
    with pytest.raises(LabelsError, match="--columns prompt=q,c=d must name columns"):
        parse_columns("prompt=q,c=d")


def test_verdicts_that_count_from_zero_are_not_guessed(tmp_path: Path) -> None:
    path = table(
        tmp_path / "t.csv", "prompt a b verdict", ("Q", "x", "y", "1"), ("R", "x", "y", "0")
    )
    with pytest.raises(LabelsError, match=r"t\.csv:3: a verdict is 0, so 1 may mean"):
        import_files([path], tmp_path / "out", ImportOptions())
    assert not (tmp_path / "out").exists()


PAIR = {"prompt": "Q", "chosen": "x", "rejected": "y"}
BROKEN: dict[str, tuple[Any, str]] = {
    "a list": ([1], "expected an object, found list"),
    "missing column": (
        {"prompt": "Q", "chosen": "x"},
        "not a preference row (its columns: prompt, chosen)",
    ),
    "no prompt": ({"chosen": "x", "rejected": "y"}, "the row has no prompt"),
    "empty": ({**PAIR, "chosen": " \n"}, "chosen is empty"),
    "NUL": ({**PAIR, "rejected": "a\0b"}, "rejected holds a NUL character"),
    "half a character": ({**PAIR, "prompt": "\ud800"}, "prompt is not valid Unicode"),
    "nested": ({**PAIR, "prompt": [[HUMAN]]}, "prompt message 1 must be a message, found list"),
    "other role": (
        {**PAIR, "prompt": [{"role": "root", "content": "x"}]},
        "prompt message 1 has the role 'root', not one of system, user, assistant, tool",
    ),
    "image": (
        {**PAIR, "prompt": [{"role": "user", "content": [{"type": "image"}]}]},
        "prompt message 1 has parts that are not text",
    ),
    "other conversation": (
        {"chosen": [HUMAN, answer("x")], "rejected": [SYSTEM, HUMAN, answer("y")]},
        "chosen and rejected answer different conversations",
    ),
    "ends with the user": (
        {**PAIR, "chosen": [HUMAN]},
        "chosen ends with a message of the user",
    ),
    "prompt ends with the assistant": (
        {**PAIR, "prompt": [HUMAN, answer("x")]},
        "the prompt ends with a message of the assistant",
    ),
    "label the other way": (
        {**PAIR, "p_chosen": 0.2},
        "p_chosen 0.2 means that the rejected answer is better",
    ),
    "label no number": (
        {**PAIR, "p_chosen": True},
        "p_chosen must be a number from 0 to 1, found True",
    ),
    "system no text": ({**PAIR, "system": 3}, "system is not text"),
    "source no text": ({**PAIR, "sources": ["\udcff"]}, "a source is not valid Unicode"),
    "a name that acts on a screen": (
        {"\x1b[2J": 1},
        r"not a preference row (its columns: \x1b[2J)",
    ),
    "a long name": ({"x" * 10**5: 1}, "not a preference row (its columns: " + "x" * 265 + "…"),
    "a number": ({**PAIR, "rejected": 3}, "rejected must be text or a list of messages, found int"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_row_that_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path: Path, name: str) -> None:
    row, reason = BROKEN[name]
    assert refusal(tmp_path, row) == reason


NAMES = [
    "prompt",
    "chosen",
    "rejected",
    "system",
    "messages",
    "instruction",
    "completions",
    "ratings",
    "response",
    "score",
    "role",
    "content",
    "text",
    "a",
    "b",
    "verdict",
    "p_chosen",
    "sources",
    "agreement",
    "plain",
    "user",
    "assistant",
    "tie",
]
ANYTHING = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.sampled_from(["\n\nHuman: Q\n\nAssistant: x", "\ud800", "\0", *NAMES]),
    lambda part: (
        strategies.lists(part, max_size=3)
        | strategies.dictionaries(strategies.sampled_from(NAMES), part, max_size=6)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(row=strategies.dictionaries(strategies.sampled_from(NAMES), ANYTHING, max_size=8))
def test_any_row_is_read_or_refused(row: dict[str, Any]) -> None:
    for name in FORMATS:
        try:
            found = read_as(name, row)
        except (UnreadableRow, LabelsError):
            continue
        if isinstance(found, ImportedPair):
            pa.Table.from_pylist([imported_row(found, "file")], schema=IMPORTED)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    good = json.dumps({**PAIR, "chosen": "é" * 50_000}, ensure_ascii=False)  # 100 kB of UTF-8
    path = tmp_path / "rows.jsonl"
    content = [
        b"\xef\xbb\xbf" + json.dumps(PAIR).encode(),
        b'{"prompt": "Q", "chosen": "\xff", "rejected": "y"}',
        b'{"prompt": "Q", "chosen": "a\0b", "rejected": "y"}',
        b"",
        b"[" * 100_000,
        good.encode(),
        b'{"prompt": "Q", "chosen',
    ]
    path.write_bytes(b"\r\n".join(content))
    result, pairs, rejected = imported(tmp_path, path)
    assert [len(pair["chosen"]) for pair in pairs] == [1, 50_000]
    assert [(p["where"].rpartition(":")[2], p["reason"].split(":")[0]) for p in rejected] == [
        ("2", "not UTF-8"),
        ("3", "not JSON"),
        ("5", "nested too deeply"),
        ("7", "not JSON"),
    ]
    assert result.rows == 6


def test_kinds_of_files_and_folders(tmp_path: Path) -> None:
    rows = [{**PAIR, "prompt": f"Q{n}"} for n in range(6)]
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows[:1]), folder / "data" / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows[5:]), folder / "data" / "test-00000-of-00001.parquet")
    (tmp_path / "list.json").write_text(json.dumps(rows[1:2]))
    with gzip.open(tmp_path / "zipped.jsonl.gz", "wt") as file:
        file.write(json.dumps(rows[2]) + "\n")
    files = [folder, tmp_path / "list.json", tmp_path / "zipped.jsonl.gz"]
    result, pairs, _ = imported(tmp_path, *files, source="mine")
    assert [pair["prompt"] for pair in pairs] == [
        "Q0",
        "Q1",
        "Q2",
    ]  # of the folder, its train split
    assert {source for pair in pairs for source in pair["sources"]} == {"mine"}
    assert result.formats == {"preference": 3}


def test_a_dataset_saved_to_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([PAIR]).save_to_disk(str(tmp_path / "saved"))
    _, [pair], _ = imported(tmp_path, tmp_path / "saved")
    assert pair["prompt"] == "Q"


def test_the_same_pair_twice_is_one_also_the_other_way_round(tmp_path: Path) -> None:
    turned = {**PAIR, "chosen": PAIR["rejected"], "rejected": PAIR["chosen"]}
    same = {**PAIR, "rejected": PAIR["chosen"]}
    undecided = {**PAIR, "p_chosen": 0.5}
    rows = [PAIR, PAIR, turned, same, undecided]
    result, [pair], _ = imported(tmp_path, lines(tmp_path / "r.jsonl", rows))
    assert pair["chosen"] == "x"
    assert result.dropped == {"duplicate": 2, "identical": 1, "tie": 1}
    assert result.rows == result.kept + sum(result.dropped.values())


def test_plain_prompts_as_chat_and_back(tmp_path: Path) -> None:
    made = one(tmp_path, PAIR, prompts="chat")
    assert made["messages"] == [{"role": "user", "content": "Q"}]
    (tmp_path / "again").mkdir()
    back = one(tmp_path / "again", {**PAIR, "prompt": made["messages"]}, prompts="plain")
    assert (back["prompt"], back["messages"]) == ("Q", None)


def test_nothing_readable_writes_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 nothing")
    with pytest.raises(LabelsError) as error:
        import_files([broken], tmp_path / "out", ImportOptions())
    assert error.value.exit_code == 2
    assert f"{broken}: the file cannot be read" in error.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.parquet"]


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [PAIR])
    import_files([path], tmp_path / "out", ImportOptions())
    with pytest.raises(LabelsError, match="is not empty"):
        import_files([path], tmp_path / "out", ImportOptions())
    with pytest.raises(LabelsError, match="there is no file or folder"):
        import_files([tmp_path / "missing"], tmp_path / "new", ImportOptions())


MEASURED = """
import resource, sys
from pathlib import Path
from labeling.exchange.formats.kinds import FORMATS, read_as
from labeling.exchange.imported_pair import ImportedPair, UnreadableRow, imported_row
from labeling.exchange.importing import ImportOptions, import_files
import_files([Path(sys.argv[1])], Path(sys.argv[2]), ImportOptions())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """A file of 100 MB takes less than 80 MB more than one of a row does."""
    long = "word " * 4000

    def peak_mib(name: str, rows: int) -> float:
        path = tmp_path / f"{name}.jsonl"
        with path.open("w") as file:
            for n in range(rows):
                file.write(json.dumps({"prompt": f"{n}", "chosen": long, "rejected": "no"}) + "\n")
        command = [sys.executable, "-c", MEASURED, str(path), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout) / 1024

    assert peak_mib("large", 5_000) - peak_mib("small", 1) < 80
