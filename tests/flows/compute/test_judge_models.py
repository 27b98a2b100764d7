"""Models that judge: which process is asked."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dpo_core.campaign.layout import Layout
from dpo_core.children import Child
from dpo_core.errors import ChildFailed
from dpo_core.records import Completion, Prompt
from flows.compute.judge_models import JudgeModels
from generation.config import SamplingConfig
from labeling.judges.config import RewardModelJudge

WORKER = """
import os
from dpo_core.children import serve

def handle(request, report):
    texts = [c[-1]["parts"][0][0] for c in request["job"]["conversations"]]
    if "fail" in texts:
        raise RuntimeError("CUDA out of memory")
    answers = [{"value": float(os.getpid()), "reason": ""} for _ in texts]
    return {"answers": answers, "seconds_start": 0.0, "versions": {}, "device": "cpu"}

if __name__ == "__main__":
    serve(handle)
"""


def test_after_a_failed_request_the_next_one_meets_a_fresh_process(
    rule: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    )
    module = rule(WORKER).partition(":")[0]
    started: list[Child] = []

    def start(number: int, workers: int) -> Child:
        started.append(Child.start(module, tmp_path / f"judging-{number}"))
        return started[-1]

    models = _models(tmp_path, start, workers=1)
    judge = RewardModelJudge(kind="reward_model", model="m")

    def rate(text: str) -> float | None:
        answer = Completion("c", Prompt("p", text="?"), text, "stop", 1)
        [score] = models.models.rate(judge, [answer])
        return score.value

    assert rate("good") == rate("good") == started[0].process.pid
    with pytest.raises(ChildFailed, match="CUDA"):
        rate("fail")
    assert rate("good") == started[1].process.pid
    assert not started[0].alive() and len(started) == 2
    models.release()
    assert not started[1].alive()


def test_processes_of_a_model_rate_side_by_side_and_scores_keep_their_order(
    rule: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    )
    module = rule(WORKER.replace("float(os.getpid())", "float(texts[0])")).partition(":")[0]
    numbers: list[tuple[int, int]] = []

    def start(number: int, workers: int) -> Child:
        numbers.append((number, workers))
        return Child.start(module, tmp_path / f"judging-{number}")

    models = _models(tmp_path, start, workers=3)
    judge = RewardModelJudge(kind="reward_model", model="m")
    answers = [Completion("c", Prompt("p", text="?"), str(n), "stop", 1) for n in range(600)]
    scores = models.models.rate(judge, answers)
    models.release()
    assert [score.value for score in scores] == [256.0 * (n // 256) for n in range(600)]
    assert sorted(numbers) == [(0, 3), (1, 3), (2, 3)]


def _models(folder: Path, start: Callable[[int, int], Child], workers: int) -> JudgeModels:
    return JudgeModels(
        Layout(folder), SamplingConfig(), start, lambda _: workers, lambda: None, lambda *_: None
    )
