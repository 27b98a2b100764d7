"""The base policy: loaded, built, warm-started; which rows are trained on and which are counted."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from dpo_core.errors import BadInput
from dpo_core.hashing import policy_id
from dpo_core.records import Prompt, prompt_id, prompt_row
from dpo_core.schemas import PROMPTS
from dpo_core.tables import read_rows, write_rows
from dpo_core.training.jobs import BaseJob
from dpo_core.training.metrics.curves import SFT_CURVE
from dpo_core.training.optimiser import learning_rate_factor
from dpo_core.training.runtime import load_master
from dpo_core.training.warm_start.base_policy import prepare_base
from dpo_core.training.warm_start.sft import batch_logps, batches
from dpo_core.training.warm_start.sft_examples import Example, load_examples

from ..conftest import BOS, EOS, ids, make_tokenizer

MakeBase = Callable[..., BaseJob]

_USER_CODE = """
from pathlib import Path
import torch
from tests.dpo_core.training.conftest import build_tiny

def build(out_dir: Path, seed: int, hidden: int) -> None:
    build_tiny(out_dir, seed, hidden)

def rows(seed):
    for number in range(40):
        answer = "good" if (number + seed) % 2 else "very fine"
        yield {"prompt": "the film was", "completion": answer}

def broken(seed):
    yield {"prompt": "the film was", "completion": "good"}
    raise RuntimeError("no more")

def untyped(seed):
    yield {"prompt": "the film was", "text": "good"}
"""


def quiet(done: int, total: int, unit: str) -> None:
    pass


@pytest.fixture
def make_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeBase:
    """make_base(name, **fields) -> BaseJob; OUT in fields is its folder, user: _USER_CODE."""
    name = f"user_{os.getpid()}_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(_USER_CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[4]))

    def make(folder: str, **fields: Any) -> BaseJob:
        (tmp_path / folder).mkdir()
        text = json.dumps({"out_dir": "OUT/policy", "curve_path": "OUT/sft.parquet", **fields})
        text = text.replace("OUT", str(tmp_path / folder)).replace("user:", f"{name}:")
        return BaseJob.model_validate_json(text)

    return make


def _jsonl(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def weights(policy: Path) -> bytes:
    return (policy / "model.safetensors").read_bytes()


def test_without_warm_start_the_weights_stay_as_they_are(make_base: MakeBase, tiny: Path) -> None:
    job = make_base("base", model=str(tiny))
    result = prepare_base(job, quiet)
    assert result.policy == policy_id(job.out_dir)
    assert weights(job.out_dir) == weights(tiny)
    assert result.final_loss is None and result.steps == 0
    assert read_rows(job.curve_path) == []


def test_without_warm_start_the_precision_stays(make_base: MakeBase, tiny: Path) -> None:
    half = make_base("half", model=str(tiny))
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    model.save_pretrained(half.out_dir)
    make_tokenizer().save_pretrained(half.out_dir)
    job = make_base("base", model=str(half.out_dir))
    prepare_base(job, quiet)
    assert weights(job.out_dir) == weights(half.out_dir)


def test_builds_and_warm_starts_and_repeats(make_base: MakeBase) -> None:
    seen: list[tuple[int, int, str]] = []
    results, curves = [], []
    for name in ("first", "second"):
        job = make_base(
            name,
            build="user:build",
            build_args={"hidden": 16},
            sft={
                "function": "user:rows",
                "steps": 60,
                "batch_size": 8,
                "learning_rate": 0.01,
                "warmup_steps": 5,
            },
            seed=3,
        )
        results.append(prepare_base(job, lambda d, t, u: seen.append((d, t, u))))
        kept = [column for column in SFT_CURVE.names if column != "seconds"]
        curves.append(read_rows(job.curve_path, kept))
        assert not list(job.out_dir.parent.glob(".build-*"))
    assert results[0].policy == results[1].policy
    assert curves[0] == curves[1]
    assert (results[0].rows_in, results[0].rows_kept, results[0].dropped) == (40, 40, {})
    assert seen[59] == (60, 60, "steps, warm start")
    # A random policy pays ln 24 per token. The two answers are "good" or "very fine", then EOS:
    # one fair coin per 2.5 tokens is what cannot be learned, ln(2)/2.5 = 0.28 nats per token.
    # Batches of similar lengths are uneven mixtures of the two, so the end lies somewhat above.
    assert curves[0][0]["loss"] > 2.5
    assert results[0].final_loss < 0.6


def test_rows_are_dropped_by_reason(make_base: MakeBase, tmp_path: Path) -> None:
    rows = [
        {"q": "the film was", "a": "good"},
        {"q": "The  FILM was", "a": "held out: the same prompt when normalised"},
        {"q": "the book was", "a": "good"},
        {"q": "the play was", "a": "very very very very very good"},
        {"q": "the play is", "a": " "},
        {"q": "the song was", "a": "of a regression suite"},
    ]
    held_out = Prompt(prompt_id("the film was", None), text="the film was", split="test")
    write_rows(tmp_path / "prompts.parquet", [prompt_row(held_out)], PROMPTS)
    fields = {"prompt_field": "q", "completion_field": "a", "max_length": 7}
    sources = {"jsonl": _jsonl(tmp_path / "rows.jsonl", rows)}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    sources["parquet"] = str(tmp_path / "rows.parquet")
    for name, path in sources.items():
        job = make_base(
            name,
            model="unused",
            sft={"path": path, **fields},
            held_out=str(tmp_path / "prompts.parquet"),
            never=[prompt_id("The song was", None)],
        )
        kept, dropped = load_examples(job, make_tokenizer(), 64)
        # The prompt has the BOS the tokenizer gives it; the completion has none, and ends.
        assert kept == [Example([BOS, *ids("the book was")], [*ids("good"), EOS])]
        assert dropped == {"held_out": 3, "too_long": 1, "empty": 1}


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} ; {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


@pytest.mark.parametrize(
    "text",
    [
        "The film  was",
        "user: the film was",
        "user : the film was ; assistant :",
        "<s>user : the film was ;",
    ],
)
@pytest.mark.parametrize("suite", [False, True])
def test_a_held_out_conversation_is_found_as_text(
    make_base: MakeBase, tmp_path: Path, text: str, suite: bool
) -> None:
    messages = ({"role": "user", "content": "the film was"},)
    held_out = Prompt(prompt_id(None, messages), messages=messages, split="test")
    write_rows(tmp_path / "prompts.parquet", [prompt_row(held_out)], PROMPTS)
    rows = [{"prompt": text, "completion": "good"}, {"prompt": "the book", "completion": "bad"}]
    never: dict[str, Any] = {"held_out": str(tmp_path / "prompts.parquet")}
    if suite:
        never = {"never": [held_out.prompt_id], "never_messages": [list(messages)]}
    sft = {"path": _jsonl(tmp_path / "rows.jsonl", rows)}
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    job = make_base("base", model="unused", sft=sft, **never)
    kept, dropped = load_examples(job, tokenizer, 64)
    assert dropped == {"held_out": 1} and len(kept) == 1


def test_a_template_that_refuses_a_conversation_wrote_no_text(
    make_base: MakeBase, tmp_path: Path
) -> None:
    messages = ({"role": "system", "content": "be"}, {"role": "user", "content": "the film was"})
    held_out = Prompt(prompt_id(None, messages), messages=messages, split="test")
    write_rows(tmp_path / "prompts.parquet", [prompt_row(held_out)], PROMPTS)
    rows = [{"prompt": p, "completion": "good"} for p in ("the film was", "the book")]
    sft = {"path": _jsonl(tmp_path / "rows.jsonl", rows)}
    job = make_base("base", model="unused", sft=sft, held_out=str(tmp_path / "prompts.parquet"))
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system turn') }}"
    assert load_examples(job, tokenizer, 64)[1] == {"held_out": 1}


def test_no_row_is_longer_than_the_model_reads(make_base: MakeBase, tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "rows.jsonl", [{"prompt": "the film", "completion": "good"}])
    job = make_base("base", model="unused", sft={"path": path})
    assert len(load_examples(job, make_tokenizer(), 5)[0]) == 1  # BOS the film | good EOS
    with pytest.raises(BadInput, match=r"no rows are left.*'too_long': 1"):
        load_examples(job, make_tokenizer(), 4)


def test_loss_is_on_completions_only(tiny: Path) -> None:
    model = load_master(tiny, torch.device("cpu"))
    batch = [
        Example([BOS, *ids("the film was")], [*ids("good"), EOS]),
        Example([BOS, *ids("the")], [*ids("story is very dull"), EOS]),
    ]
    with torch.no_grad():
        found = batch_logps(model, batch, torch.device("cpu"))
        expected = []
        for example in batch:
            tokens = example.prompt_ids + example.completion_ids
            logps_TV = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
            expected += [
                logps_TV[position - 1, tokens[position]].item()
                for position in range(len(example.prompt_ids), len(tokens))
            ]
    assert len(expected) == 2 + 5
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_batches_show_every_example_once_per_epoch() -> None:
    lengths = [(7 * number) % 30 for number in range(50)]
    made = list(batches(lengths, 8, steps=14, seed=0))
    assert made == list(batches(lengths, 8, steps=14, seed=0))
    assert made != list(batches(lengths, 8, steps=14, seed=1))
    for epoch in (made[:7], made[7:]):
        assert sorted(index for batch in epoch for index in batch) == list(range(50))
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in made]
    # Eight of 50 lengths in 0 … 29 in random order would span about 23.
    assert sum(spread) / len(spread) < 10


def test_learning_rate_rises_then_falls_to_a_tenth() -> None:
    rates = [
        learning_rate_factor(step, 12, warmup_steps=2, schedule="linear", floor=0.1)
        for step in range(12)
    ]
    assert rates[:3] == [0.5, 1, 1]
    assert rates[-1] == pytest.approx(0.1 + 0.9 / 10)
    cosine = [learning_rate_factor(s, 4, warmup_steps=0, schedule="cosine") for s in range(4)]
    assert cosine == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "/nowhere/at/all"}, "cannot load the policy /nowhere/at/all"),
        ({"build": "user:build"}, r"user_.*:build raised TypeError"),
        ({"build": "user:biuld"}, "Did you mean build"),
        ({}, "exactly one of model and build"),
    ],
)
def test_a_policy_that_cannot_be_had(
    make_base: MakeBase, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        prepare_base(make_base("base", **fields), quiet)


@pytest.mark.parametrize(
    ("sft", "says"),
    [
        ({"function": "user:broken"}, "broken raised RuntimeError: no more"),
        ({"function": "user:untyped"}, "row 1: needs the text fields 'prompt' and 'completion'"),
        ({"function": "user:missing"}, "has no 'missing'"),
        ({"path": "OUT/missing.jsonl"}, "there is no file"),
        ({}, "neither is given"),
    ],
)
def test_rows_that_cannot_be_read(make_base: MakeBase, sft: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        load_examples(make_base("base", model="unused", sft=sft), make_tokenizer(), 64)


def test_a_line_that_is_not_json_is_named(make_base: MakeBase, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "the", "completion": "end"}\n{oops\n')
    job = make_base("base", model="unused", sft={"path": str(tmp_path / "rows.jsonl")})
    with pytest.raises(BadInput, match=r"rows\.jsonl:2 is not JSON"):
        load_examples(job, make_tokenizer(), 64)
