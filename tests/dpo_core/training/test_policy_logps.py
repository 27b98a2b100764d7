"""Log-probs of many completions of a prompt in one row: those of each sequence alone."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dpo_core.schemas import SCORED
from dpo_core.tables import read_rows, write_rows
from dpo_core.training import policy_logps
from dpo_core.training.jobs import LogpsJob
from dpo_core.training.pairs.prompt_groups import PromptGroups
from dpo_core.training.passes.fast_path import FastPath
from dpo_core.training.policy_logps import write_policy_logps

from .passes.test_fast_path import ROPES, VOCABULARY, build, build_from

FAMILIES = (
    "llama",
    "qwen2, tied",
    "qwen2, sliding window",
    "qwen3",
    "mistral, sliding window",
    "gemma2, capped",
    "gemma3",
    "granite, scaled logits",
)
PROMPTS, MOST = 5, 4


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A job sets the threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def rows() -> list[dict[str, Any]]:
    """Up to MOST completions of each prompt, prompts in turn, as no step of a campaign writes them;
    the second completion has no tokens."""
    chosen = random.Random(0)

    def ids(least: int, most: int) -> list[int]:
        return [chosen.randrange(3, VOCABULARY) for _ in range(chosen.randint(least, most))]

    prompts = [ids(1, 12) for _ in range(PROMPTS)]
    asked = [(number, n) for n in range(MOST) for number in range(PROMPTS) if n < 1 + number]
    return [
        {
            "completion_id": f"{number}/{n}",
            "prompt_token_ids": prompts[number],
            "token_ids": ids(1, 15) if place != 1 else [],
        }
        for place, (number, n) in enumerate(asked)
    ]


def saved(model: Any, folder: Path) -> LogpsJob:
    model.save_pretrained(folder / "policy")
    write_rows(folder / "asked.parquet", rows(), SCORED)
    return LogpsJob(
        policy_dir=folder / "policy",
        completions=folder / "asked.parquet",
        out=folder / "logps.parquet",
    )


@torch.inference_mode()
def expected(model: Any) -> dict[str, float]:
    """One sequence at a time, by the model as transformers loads it: no padding at all."""
    found = {}
    for row in rows():
        prompt, tokens = row["prompt_token_ids"], row["token_ids"]
        logits_TV = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        logps_T = logits_TV.double().log_softmax(-1).gather(-1, torch.tensor([tokens]).long().T)
        found[row["completion_id"]] = float(logps_T.sum())
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_those_of_each_sequence_alone(family: str, tmp_path: Path) -> None:
    model = build(family)
    job = saved(model, tmp_path)
    assert write_policy_logps(job, lambda *_: None).why_not == ""
    found = {row["completion_id"]: row["logp"] for row in read_rows(job.out)}
    assert list(found) == [row["completion_id"] for row in rows()], "in the file's order"
    exact = expected(model)
    lengths = {row["completion_id"]: len(row["token_ids"]) for row in rows()}
    assert 0 in lengths.values()
    for one, logp in found.items():
        assert abs(logp - exact[one]) <= 2e-5 * lengths[one], one
    # In bfloat16 they are the same up to its 8 bits.
    job = job.model_copy(update={"dtype": "bfloat16"})
    assert write_policy_logps(job, lambda *_: None).why_not == ""
    rounded = {row["completion_id"]: row["logp"] for row in read_rows(job.out)}
    gaps = [abs(rounded[one] - exact[one]) / max(1, lengths[one]) for one in found]
    assert max(gaps) > 1e-4 and sum(gaps) / len(gaps) < 0.2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_threads_make_passes_side_by_side_and_change_nothing(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_logps, "token_budget", lambda *_: 40)  # several passes
    job = saved(build("llama"), tmp_path).model_copy(update={"dtype": dtype})
    lock, under_way, most = threading.Lock(), 0, 0
    usual = FastPath.logps

    def watched(path: FastPath, groups: Any) -> Any:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)
        try:
            return usual(path, groups)
        finally:
            with lock:
                under_way -= 1

    monkeypatch.setattr(FastPath, "logps", watched)
    found = []
    for threads in (1, 2, 3):
        most = 0
        write_policy_logps(job.model_copy(update={"threads": threads}), lambda *_: None)
        assert (most, torch.get_num_threads()) == (threads, threads)
        found.append(read_rows(job.out))
    assert found[0] == found[1] == found[2]


def test_an_error_within_a_pass_ends_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = saved(build("llama"), tmp_path).model_copy(update={"threads": 2})
    usual = FastPath.for_thread

    def broken(path: FastPath) -> FastPath:
        own = usual(path)
        own.model = None
        return own

    monkeypatch.setattr(FastPath, "for_thread", broken)
    with pytest.raises(AttributeError):
        write_policy_logps(job, lambda *_: None)
    assert not job.out.exists() and torch.get_num_threads() == 2


def test_a_prompt_is_in_a_row_once_as_long_as_there_is_room(tmp_path: Path) -> None:
    asked, there = tmp_path / "asked.parquet", [row for row in rows() if row["token_ids"]]
    write_rows(asked, rows(), SCORED)
    whole = PromptGroups(asked, 1024)
    assert len(whole) == PROMPTS and len(whole.ids) == len(rows())
    for budget in (40, 1):
        groups = PromptGroups(asked, budget)
        assert len(groups) > PROMPTS
        placed = [place for number in range(len(groups)) for place in groups.rows(number)]
        assert sorted(placed) == [n for n, row in enumerate(rows()) if row["token_ids"]]
        for group in groups:
            assert group.tokens <= budget or len(group.completions) == 1
        said = sorted((g.prompt_ids, ids) for g in groups for ids in g.completions)
        assert said == sorted((r["prompt_token_ids"], r["token_ids"]) for r in there)


def test_a_model_whose_completions_cannot_share_a_prompt_is_left_to_others(tmp_path: Path) -> None:
    job = saved(build_from(*ROPES["dynamic"]), tmp_path)
    why_not = write_policy_logps(job, lambda *_: None).why_not
    assert "on sequence length" in why_not and not job.out.exists()


def test_a_prompt_without_tokens_predicts_nothing(tmp_path: Path) -> None:
    job = saved(build("llama"), tmp_path)
    first, *others = rows()
    write_rows(job.completions, [{**first, "prompt_token_ids": []}, *others], SCORED)
    assert "without tokens" in write_policy_logps(job, lambda *_: None).why_not
    assert not job.out.exists()
