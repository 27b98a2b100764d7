"""A round trains only on answers of its own reference: stale weights in the sampler are caught."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from dpo_core.errors import InvariantViolated
from dpo_core.training.jobs import DpoJob
from dpo_core.training.trainer import train_round

from .conftest import build_tiny, sentiment


def _with_logps_of(policy: Path, completions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The completions with the log-probs that a sampler with these weights would return."""
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).eval()

    def logps(row: dict[str, Any]) -> list[float]:
        ids, start = row["prompt_token_ids"] + row["token_ids"], len(row["prompt_token_ids"])
        with torch.no_grad():
            logps_TV = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        return [float(logps_TV[at - 1, ids[at]]) for at in range(start, len(ids))]

    return [{**row, "token_logps": logps(row)} for row in completions]


def test_answers_of_the_reference_pass(make_job: Callable[..., DpoJob], tiny: Path) -> None:
    completions, preferences = sentiment(8)
    job = make_job("own", _with_logps_of(tiny, completions), preferences)
    result = train_round(job, lambda done, total, unit: None)
    assert result["sampling_gap"] < 1e-5


def test_answers_of_other_weights_are_refused(
    make_job: Callable[..., DpoJob], tmp_path: Path
) -> None:
    completions, preferences = sentiment(8)
    build_tiny(tmp_path / "other", seed=99)
    stale = _with_logps_of(tmp_path / "other", completions)
    job = make_job("stale", stale, preferences)
    with pytest.raises(InvariantViolated, match="not sampled by the reference policy"):
        train_round(job, lambda done, total, unit: None)
    assert not job.out_dir.exists()
