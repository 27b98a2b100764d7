"""The prompt pool: what is read, what is refused, how it is split and drawn from."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dpo_core.errors import PromptError
from dpo_core.records import Prompt, prompt_id
from generation.config import PromptsConfig
from generation.prompts import Draw, assign_split, draw_held_out, draw_train, read_pool, split_unit

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]


def jsonl(path: Path, rows: Iterable[Any]) -> PromptsConfig:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return PromptsConfig(path=str(path))


def texts(count: int, start: int = 0) -> list[dict[str, str]]:
    return [{"prompt": f"question {number}"} for number in range(start, start + count)]


def test_text_chat_and_extra_fields_are_read(tmp_path: Path) -> None:
    rows = [{"prompt": " Why is\tthe sky BLUE? ", "answer": 72}, {"messages": CHAT, "tags": ["a"]}]
    text, chat = read_pool(jsonl(tmp_path / "p.jsonl", rows))
    assert (text.text, text.messages, text.extra) == (rows[0]["prompt"], None, {"answer": 72})
    assert (chat.text, chat.messages, chat.extra) == (None, tuple(CHAT), {"tags": ["a"]})
    assert text.prompt_id == prompt_id("why is the sky blue?", None)


def test_parquet_holds_the_same_prompts_as_jsonl(tmp_path: Path) -> None:
    rows = [{"prompt": "one", "answer": 1}, {"messages": CHAT, "answer": 2}]
    # Arrow takes its columns from the first row; an absent field is null in a table.
    table = pa.Table.from_pylist([{"messages": None, **rows[0]}, rows[1]])
    pq.write_table(table, tmp_path / "p.parquet")
    pool = list(read_pool(PromptsConfig(path=str(tmp_path / "p.parquet"))))
    expected = list(read_pool(jsonl(tmp_path / "p.jsonl", rows)))
    assert pool == expected


def test_blank_lines_are_no_rows_but_count_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "one"}\n\n  \n{"prompt": ""}\n', encoding="utf-8")
    pool = read_pool(PromptsConfig(path=str(path)))
    assert next(pool).text == "one"
    with pytest.raises(PromptError, match=r"p\.jsonl:4"):
        next(pool)


BAD_ROWS: dict[str, tuple[Any, str]] = {
    "a list": ([], "expected an object, found list"),
    "null": (None, "expected an object, found NoneType"),
    "no prompt": ({"question": "why?"}, "neither (its fields: question)"),
    "nothing": ({}, "neither (its fields: none)"),
    "both": ({"prompt": "why?", "messages": CHAT}, "this one has both"),
    "empty": ({"prompt": " \n"}, "must be text that is not empty"),
    "a number": ({"prompt": 5}, "must be text that is not empty"),
    "half a character": ({"prompt": "\ud83d"}, "not valid Unicode"),
    "no message": ({"messages": []}, "must be a list of role"),
    "text as messages": ({"messages": "why?"}, "must be a list of role"),
    "unknown role": (
        {"messages": [{"role": "human", "content": "why?"}]},
        "must be a list of role",
    ),
    "no content": ({"messages": [{"role": "user"}]}, "must be a list of role"),
    "content in parts": (
        {"messages": [{"role": "user", "content": [{"text": "why?"}]}]},
        "must be a list of role",
    ),
    "answered": (
        {"messages": [*CHAT, {"role": "assistant", "content": "So."}]},
        "does not end with the assistant",
    ),
    "half a character in chat": (
        {"messages": [{"role": "user", "content": "\udc00"}]},
        "not valid Unicode",
    ),
}


@pytest.mark.parametrize(("row", "complaint"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_jsonl_row_is_named_with_a_remedy(tmp_path: Path, row: Any, complaint: str) -> None:
    config = jsonl(tmp_path / "p.jsonl", [{"prompt": "fine"}, row])
    with pytest.raises(PromptError) as caught:
        list(read_pool(config))
    assert caught.value.message.startswith(f"{tmp_path / 'p.jsonl'}:2")
    assert complaint in caught.value.message
    assert caught.value.remedy
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("line", [b'{"prompt": "cut', b'{"prompt": "\xff"}', b"prompt"])
def test_line_that_is_not_json(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "p.jsonl").write_bytes(b'{"prompt": "fine"}\n' + line + b"\n")
    with pytest.raises(PromptError, match=r"p\.jsonl:2 is not JSON") as caught:
        list(read_pool(PromptsConfig(path=str(tmp_path / "p.jsonl"))))
    assert '{"prompt": "Why is the sky blue?"}' in caught.value.remedy


@pytest.mark.parametrize("name", ["empty", "both", "answered"])
def test_bad_parquet_row_is_named_with_a_remedy(tmp_path: Path, name: str) -> None:
    row, complaint = BAD_ROWS[name]
    path = tmp_path / "p.parquet"
    pq.write_table(pa.Table.from_pylist([{"prompt": "fine", "messages": None}, row]), path)
    with pytest.raises(PromptError) as caught:
        list(read_pool(PromptsConfig(path=str(path))))
    assert caught.value.message.startswith(f"{path} row 2")
    assert complaint in caught.value.message and caught.value.remedy


def test_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_text('{"prompt": "one"}\n')
    with pytest.raises(PromptError, match=r"p\.parquet is not a parquet file") as caught:
        list(read_pool(PromptsConfig(path=str(tmp_path / "p.parquet"))))
    assert ".jsonl" in caught.value.remedy


def test_other_field_name(tmp_path: Path) -> None:
    config = jsonl(tmp_path / "p.jsonl", [{"question": "why?", "prompt": "unused"}])
    (prompt,) = read_pool(config.model_copy(update={"field": "question"}))
    assert (prompt.text, prompt.extra) == ("why?", {"prompt": "unused"})


def test_function_gives_rows(rule: Callable[[str], str]) -> None:
    path = rule("def rows():\n    yield {'prompt': 'one'}\n    yield {'prompt': ''}\n")
    pool = read_pool(PromptsConfig(function=path.replace(":score", ":rows")))
    assert next(pool).text == "one"
    with pytest.raises(PromptError, match=r":rows row 2"):
        next(pool)


def test_function_that_raises_is_named_with_file_and_line(rule: Callable[[str], str]) -> None:
    path = rule("def rows():\n    yield {'prompt': 'one'}\n    raise KeyError('lost')\n")
    with pytest.raises(PromptError, match=r"raised KeyError: 'lost' \(.*\.py:3\)"):
        list(read_pool(PromptsConfig(function=path.replace(":score", ":rows"))))


# ── split ────────────────────────────────────────────────────────────────────────────────────────


def test_split_is_the_share_that_the_leading_digits_fall_into() -> None:
    config = PromptsConfig(path="-", gate_share=0.25, test_share=0.5)
    ends = {"00000000": "gate", "3fffffff": "gate", "40000000": "test", "bfffffff": "test"}
    ends |= {"c0000000": "train", "ffffffff": "train"}
    assert {digits: assign_split(digits + "0" * 8, config) for digits in ends} == ends


def test_growth_and_order_of_the_pool_never_move_a_prompt(tmp_path: Path) -> None:
    few = {p.prompt_id: p.split for p in read_pool(jsonl(tmp_path / "few.jsonl", texts(200)))}
    rows = texts(2_000)[::-1]
    many = {p.prompt_id: p.split for p in read_pool(jsonl(tmp_path / "many.jsonl", rows))}
    assert few.items() <= many.items()
    shares = Counter(many.values())
    # Four standard deviations of a binomial share: 4·sqrt(0.1·0.9/2000) = 0.027.
    assert abs(shares["gate"] / 2_000 - 0.1) < 0.027
    assert abs(shares["test"] / 2_000 - 0.1) < 0.027


# ── draw ─────────────────────────────────────────────────────────────────────────────────────────


def train_pool(count: int, start: int = 0) -> list[Prompt]:
    rows = (f"question {number}" for number in range(start, start + count))
    return [Prompt(prompt_id(text, None), text=text) for text in rows]


def ids(draw: Draw) -> list[str]:
    return [prompt.prompt_id for prompt in draw.prompts]


def test_no_prompt_repeats_until_all_are_used_then_least_used_come_first() -> None:
    pool, used, drawn = train_pool(25), Counter[str](), []
    for number in range(5):
        draw = draw_train(pool, 10, seed=number, used=used)
        drawn.append(ids(draw))
        used.update(ids(draw))
        assert (draw.pool, draw.dropped) == (25, {"not_drawn": 15})
    first_25 = [*drawn[0], *drawn[1], *drawn[2][:5]]
    assert len(set(first_25)) == 25  # the fresh ones first, also within the third round
    assert set(drawn[2][5:]) <= {*drawn[0], *drawn[1]}
    assert set(used.values()) == {2}  # 5 · 10 draws from 25 prompts


def test_prompts_that_arrive_later_are_drawn_by_later_rounds() -> None:
    before, after = train_pool(10), train_pool(14)
    used = Counter(ids(draw_train(before, 10, 1, {})))
    later = ids(draw_train(after, 6, 2, used))
    assert set(later[:4]) == {p.prompt_id for p in train_pool(4, start=10)}


def test_draw_depends_on_the_seed_and_not_on_the_order_of_the_pool() -> None:
    pool = train_pool(100)
    assert ids(draw_train(pool, 20, 1, {})) == ids(draw_train(pool[::-1], 20, 1, {}))
    assert ids(draw_train(pool, 20, 1, {})) != ids(draw_train(pool, 20, 2, {}))


def test_every_prompt_of_the_pool_is_drawn_or_counted_with_its_reason(tmp_path: Path) -> None:
    rows = [*texts(100), *texts(10), {"prompt": "QUESTION  3"}]
    pool = list(read_pool(jsonl(tmp_path / "p.jsonl", rows)))
    splits = Counter(prompt.split for prompt in pool)
    distinct = len({p.prompt_id for p in pool if p.split == "train"})
    draw = draw_train(pool, 1_000, 0, {})
    assert len(draw.prompts) == len(set(ids(draw))) == distinct
    assert draw.dropped == {
        "duplicate": splits["train"] - distinct,
        "gate_split": splits["gate"],
        "test_split": splits["test"],
    }
    assert draw.pool == 111 == len(draw.prompts) + sum(draw.dropped.values())


def test_held_out_prompts_are_the_same_in_every_campaign_and_order(tmp_path: Path) -> None:
    pool = list(read_pool(jsonl(tmp_path / "p.jsonl", texts(500))))
    draw = draw_held_out(pool, gate=20, test=30)
    assert ids(draw) == ids(draw_held_out(pool[::-1], gate=20, test=30))
    assert Counter(prompt.split for prompt in draw.prompts) == {"gate": 20, "test": 30}
    trained = {prompt.prompt_id for prompt in draw_train(pool, 500, 0, {}).prompts}
    assert trained.isdisjoint(ids(draw))
    assert draw.pool == len(draw.prompts) + sum(draw.dropped.values())


def test_a_group_falls_into_one_split_and_is_drawn_together(tmp_path: Path) -> None:
    rows = [{**row, "group": n // 4} for n, row in enumerate(texts(400))]
    config = jsonl(tmp_path / "p.jsonl", [*rows, *texts(100, start=400)])
    apart = list(read_pool(config))
    assert [p.split for p in apart] == [assign_split(p.prompt_id, config) for p in apart]
    together = config.model_copy(update={"split_by": "group"})
    pool = list(read_pool(together))
    assert [p.prompt_id for p in pool] == [p.prompt_id for p in apart], "ids know no group"
    splits: dict[object, set[str]] = {}
    for prompt in pool[:400]:
        splits.setdefault(prompt.extra["group"], set()).add(prompt.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {"gate", "test", "train"} == {next(iter(found)) for found in splits.values()}
    assert [p.split for p in pool[400:]] == [p.split for p in apart[400:]], "those without a group"

    drawn = draw_held_out(pool, gate=17, test=0, config=together)
    assert ids(drawn) == ids(draw_held_out(pool[::-1], gate=17, test=0, config=together))
    units = [split_unit(p.prompt_id, p.extra, together) for p in drawn.prompts]
    changes = 1 + sum(a != b for a, b in pairwise(units))
    assert changes == len(set(units)), "a group's prompts stand together"
    sizes = Counter(units)
    assert all(n in (1, 4) for unit, n in sizes.items() if unit != units[-1])


def test_a_folder_is_read_in_the_order_of_names_and_only_its_prompt_files(tmp_path: Path) -> None:
    jsonl(tmp_path / "b.jsonl", texts(2, start=2))
    pq.write_table(pa.Table.from_pylist(texts(2)), tmp_path / "a.parquet")
    (tmp_path / "README.md").write_text("no prompts", encoding="utf-8")
    jsonl(tmp_path / ".c.jsonl", [{"hidden": "while it is copied"}])
    pool = list(read_pool(PromptsConfig(path=str(tmp_path))))
    assert [prompt.text for prompt in pool] == [f"question {number}" for number in range(4)]


def test_a_row_that_is_being_written_is_left_out_until_it_is_whole(tmp_path: Path) -> None:
    whole = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in texts(3))
    torn = json.dumps({"prompt": "Größe"}, ensure_ascii=False).encode()
    path = tmp_path / "p.jsonl"
    config = PromptsConfig(path=str(path))
    for cut in range(1, len(torn)):  # also within a character
        path.write_bytes(whole.encode() + torn[:cut])
        unfinished = Counter[str]()
        assert len(list(read_pool(config, unfinished))) == 3
        assert unfinished == {"unfinished_row": 1}
    path.write_bytes(whole.encode() + torn)  # a last line needs no line break
    unfinished = Counter[str]()
    assert len(list(read_pool(config, unfinished))) == 4
    assert unfinished.total() == 0
    path.write_bytes(whole.encode() + torn[:5] + b"\n")
    with pytest.raises(PromptError, match=r"p\.jsonl:4 is not JSON"):
        list(read_pool(config))


def test_files_of_a_folder_may_be_being_written(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", texts(2))
    (tmp_path / "b.jsonl").write_text('{"prom', encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(texts(2, start=2)), tmp_path / "c.parquet")
    (tmp_path / "c.parquet").write_bytes((tmp_path / "c.parquet").read_bytes()[:-9])
    unfinished = Counter[str]()
    assert len(list(read_pool(PromptsConfig(path=str(tmp_path)), unfinished))) == 2
    assert unfinished == {"unfinished_row": 1, "unfinished_file": 1}


def test_a_dataset_is_one_that_was_saved_or_that_can_be_loaded(tmp_path: Path) -> None:
    import datasets

    rows = [{**row, "topic": "sea"} for row in texts(3)]
    one, several = datasets.Dataset.from_list(rows), tmp_path / "several"
    one.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": one, "dev": one.select([0])}).save_to_disk(str(several))
    (tmp_path / "files").mkdir()
    jsonl(tmp_path / "files" / "train.jsonl", rows)
    pools = [
        [
            (prompt.text, prompt.extra)
            for prompt in read_pool(PromptsConfig(dataset=str(tmp_path / name)))
        ]
        for name in ("one", "several", "files")
    ]
    assert pools == [[(row["prompt"], {"topic": "sea"}) for row in rows]] * 3
    dev = PromptsConfig(dataset=str(several), dataset_split="dev")
    assert len(list(read_pool(dev))) == 1
    with pytest.raises(PromptError, match="dataset_split"):
        list(read_pool(PromptsConfig(dataset=str(several), dataset_split="night")))


def test_prompts_that_are_used_once_run_out(tmp_path: Path) -> None:
    config = jsonl(tmp_path / "p.jsonl", texts(100))
    pool = list(read_pool(config))
    train = sum(prompt.split == "train" for prompt in pool)
    used, sizes = Counter[str](), []
    for number in range(1, 5):
        draw = draw_train(pool, 30, number, used, reuse=False)
        assert not set(ids(draw)) & set(used)
        assert draw.pool == len(draw.prompts) + sum(draw.dropped.values()) == 100
        used.update(ids(draw))
        sizes.append(len(draw.prompts))
    assert sizes == [30, 30, train - 60, 0]
    jsonl(tmp_path / "p.jsonl", texts(130))  # it has grown
    grown = draw_train(read_pool(config), 30, 5, used, reuse=False)
    assert grown.prompts
    assert not set(ids(grown)) & set(used)
