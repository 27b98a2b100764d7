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
        "PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    )
    module = rule(WORKER).partition(":")[0]
    started: list[Child] = []

    def start(_: str, log: str) -> Child:
        started.append(Child.start(module, tmp_path / log))
        return started[-1]

    models = JudgeModels(Layout(tmp_path), SamplingConfig(), start, lambda: None, lambda *_: None)
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
