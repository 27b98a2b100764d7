"""The models of a campaign's judges: children of generation, passed to judges as callables."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from dpo_core.campaign.layout import Layout
from dpo_core.children import Report
from dpo_core.records import Completion, Cost, Score
from dpo_core.tables import batched
from flows.compute.executor import Executor, Worker
from flows.compute.pool import WorkerPool
from generation.config import SamplingConfig
from generation.jobs import EngineResult
from generation.judge_jobs import ChooseJob, JudgeModel, Message, ModelJob, RateJob, RateResult
from labeling.judges.answers import answer_each_item
from labeling.judges.config import LlmJudge, RewardModelJudge
from labeling.judges.models import Models
from labeling.judges.questions import Question, Reply

Done = TypeVar("Done", bound=EngineResult)

_BATCH = 256
"""Completions in one request to a child."""


class JudgeModels:
    """Processes of the judges' models, started at their first request.

    start: starts a process, given its number and how many there are for its model. workers: how
    many a model has side by side. make_room: called before, to free the memory that they need.
    """

    def __init__(
        self,
        layout: Layout,
        sampling: SamplingConfig,
        start: Callable[[int, int], Worker],
        workers: Callable[[str], int],
        make_room: Callable[[], None],
        report: Report,
        executor: Executor | None = None,
    ) -> None:
        self.versions: dict[str, str] = {}
        self.on_gpu = False
        self._seconds_start = 0.0
        self._sampling = sampling
        self._start = start
        self._workers = workers
        self._make_room = make_room
        self._report = report
        self._executor = executor
        self._pools: dict[str, tuple[WorkerPool, int]] = {}
        self.models = Models(
            self._rate, self._ask, layout.judge_replies, layout.judge_spending, report
        )

    def take_seconds(self) -> dict[str, float]:
        """`seconds_start`, a step's fact: seconds spent starting models since the last call."""
        seconds, self._seconds_start = self._seconds_start, 0.0
        return {"seconds_start": seconds} if seconds else {}

    def release(self) -> None:
        """End the processes."""
        while self._pools:
            self._pools.popitem()[1][0].release()

    def _rate(self, judge: RewardModelJudge, completions: Sequence[Completion]) -> list[Score]:
        model, batches = self._model(judge), list(batched(completions, _BATCH))
        jobs = [RateJob(model=model, conversations=[*map(_conversation, b)]) for b in batches]
        done = 0

        def report(result: RateResult) -> None:
            nonlocal done
            done += len(result.answers)
            self._report(done, len(completions), "completions")

        scores: list[Score] = []
        for batch, result in zip(batches, self._carry_out(judge, jobs, report), strict=True):
            rated = [Score(answer.value, answer.reason) for answer in result.answers]
            scores += answer_each_item(rated, batch, Score, lambda why: Score(None, why))
        return scores

    def _ask(self, judge: LlmJudge, questions: Sequence[Question]) -> list[Reply]:
        model = self._model(judge)
        asked = [(_question(question), question.choices) for question in questions]
        jobs = [ChooseJob(model=model, questions=batch) for batch in batched(asked, _BATCH)]
        return [
            Reply(
                answer.text,
                answer.first_token,
                Cost(answer.tokens_in, answer.tokens_out),
                answer.failure,
                refused=bool(answer.failure),  # it fails where a question is too long
            )
            for result in self._carry_out(judge, jobs, lambda _: None)
            for answer in result.answers
        ]

    def _model(self, judge: RewardModelJudge | LlmJudge) -> JudgeModel:
        ours = self._sampling
        device = (ours.dtype, ours.gpu_memory_utilization, ours.tensor_parallel_size)
        return JudgeModel(judge.model, judge.revision, judge.max_model_len, *device)

    def _carry_out(
        self,
        judge: RewardModelJudge | LlmJudge,
        jobs: Sequence[ModelJob[Done]],
        report: Callable[[Done], None],
    ) -> list[Done]:
        """The results of the jobs in their order; each is reported as it is there."""
        key = f"{judge.kind} {judge.model} {judge.revision} {judge.max_model_len}"
        if key not in self._pools or not self._pools[key][0].running():
            self._make_room()
            workers = self._workers(judge.model)
            self._pools[key] = (
                WorkerPool(lambda number: self._start(number, workers), self._executor),
                workers,
            )
        pool, workers = self._pools[key]
        results: dict[int, Done] = {}
        seconds: dict[int, float] = defaultdict(float)

        def finished(number: int, worker: int, result: Done) -> None:
            results[number] = result
            seconds[worker] += result.seconds_start
            report(result)

        pool.carry_out(jobs, Path("/"), workers, lambda *_: None, finished)
        self._seconds_start += max(seconds.values(), default=0.0)
        self.versions |= {k: v for result in results.values() for k, v in result.versions.items()}
        self.on_gpu = any(result.device != "cpu" for result in results.values())
        return [results[number] for number in range(len(jobs))]


def _question(question: Question) -> Message:
    return Message("user", [(part.text, part.data) for part in question.parts])


def _conversation(completion: Completion) -> list[Message]:
    """Prompt and answer as a conversation, marked as data throughout."""
    prompt = completion.prompt
    messages = prompt.messages or ({"role": "user", "content": prompt.text or ""},)
    answer = {"role": "assistant", "content": completion.text}
    return [Message(m["role"], [(m["content"], True)]) for m in (*messages, answer)]
