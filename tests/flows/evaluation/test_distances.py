"""How far a policy went, from the log-probs that there are of its answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from record_session import Records, open_session

from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.records import Prompt, Split, prompt_row
from dpo_core.schemas import COMPLETIONS, POLICY_LOGPS, PROMPTS
from flows.evaluation.distances import measure_distances
from flows.evaluation.held_out import Opponents, read_answers
from flows.round_state import EvaluatedPolicy, Policy


def test_log_probs_of_answers_to_gate_prompts_change_nothing(tmp_path: Path) -> None:
    """Versions before had those as well."""
    session = open_session(tmp_path)
    records = Records(session)
    splits: dict[str, Split] = {f"p{n}": "gate" if n % 3 else "test" for n in range(30)}
    held = [prompt_row(Prompt(p, text=f"prompt {p}", split=split)) for p, split in splits.items()]
    answers = [_answer(n, prompt) for n, prompt in enumerate(splits)]
    logps = [
        {"policy": "base", "completion_id": f"to {prompt}", "logp": -1.0 - n / 9}
        for n, prompt in enumerate(splits)
    ]
    test = [row for row, split in zip(logps, splits.values(), strict=True) if split == "test"]
    files = {
        "held_out": _file(records, "held_out", held, PROMPTS),
        "candidate_answers": _file(records, "answers", answers, COMPLETIONS),
    }
    made_by = records.write(0, "base", [], PROMPTS)
    base = EvaluatedPolicy(Policy(0, "base", tmp_path, made_by), made_by, None)

    def measured(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        logps = _file(records, "answer_logps", rows, POLICY_LOGPS)
        inputs = Inputs("evaluation", {**files, "logps": logps})
        ours = read_answers(inputs, "candidate", 1, same_judge=True)
        return measure_distances(
            inputs, ours, Opponents(base, base, None), session.config.evaluation
        )

    found = measured(test)
    assert len(test) == 10 and measured(logps) == found
    # Log-ratios of (n/9 − n/7 − 0.3) for the test prompts n = 0, 3, …, 27, whose mean n is 13.5.
    assert found["kl_base_nats"] == pytest.approx(13.5 / 9 - 13.5 / 7 - 0.3)


def _answer(n: int, prompt: str) -> dict[str, Any]:
    return {
        "completion_id": f"to {prompt}",
        "prompt_id": prompt,
        "token_ids": [n, 2],
        "token_logps": [-1.0 - n / 7, -0.3],
    }


def _file(
    records: Records, step: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema
) -> Input:
    return records.write(1, step, rows, schema).input(f"{step}.parquet")
