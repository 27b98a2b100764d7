"""The models of a campaign's judges: children of generation, passed to judges as callables."""

from collections.abc import Callable, Sequence

from dpo_core.campaign.layout import Layout
from dpo_core.children import Child, Report
from dpo_core.records import Completion, Cost, Score
from dpo_core.tables import batched
from generation.config import SamplingConfig
from generation.jobs import OnEngine
from generation.judge_jobs import ChooseJob, JudgeModel, Message, ModelJob, RateJob
from labeling.judges.answers import answer_each_item
from labeling.judges.config import LlmJudge, RewardModelJudge
from labeling.judges.models import Models
from labeling.judges.questions import Question, Reply

_BATCH = 256
"""Completions in one request to a child."""


class JudgeModels:
    """One child per model, started at its first request.

    start: starts a child, given its module and its log's name. make_room: called before, to free
    the memory that the child needs.
    """

    def __init__(
        self,
        layout: Layout,
        sampling: SamplingConfig,
        start: Callable[[str, str], Child],
        make_room: Callable[[], None],
        report: Report,
    ) -> None:
        self.versions: dict[str, str] = {}
        self.on_gpu = False
        self._seconds_start = 0.0
        self._sampling = sampling
        self._start = start
        self._make_room = make_room
        self._report = report
        self._children: dict[str, Child] = {}
        self.models = Models(
            self._rate, self._ask, layout.judge_replies, layout.judge_spending, report
        )

    def take_seconds(self) -> dict[str, float]:
        """`seconds_start`, a step's fact: seconds spent starting models since the last call."""
        seconds, self._seconds_start = self._seconds_start, 0.0
        return {"seconds_start": seconds} if seconds else {}

    def release(self) -> None:
        """End the children."""
        while self._children:
            self._children.popitem()[1].close()

    def _rate(self, judge: RewardModelJudge, completions: Sequence[Completion]) -> list[Score]:
        scores: list[Score] = []
        for batch in batched(completions, _BATCH):
            job = RateJob(model=self._model(judge), conversations=[*map(_conversation, batch)])
            rated = [Score(answer.value, answer.reason) for answer in self._do(judge, job).answers]
            scores += answer_each_item(rated, batch, Score, lambda why: Score(None, why))
            self._report(len(scores), len(completions), "completions")
        return scores

    def _ask(self, judge: LlmJudge, questions: Sequence[Question]) -> list[Reply]:
        asked = [(_question(question), question.choices) for question in questions]
        job = ChooseJob(model=self._model(judge), questions=asked)
        return [
            Reply(
                answer.text,
                answer.first_token,
                Cost(answer.tokens_in, answer.tokens_out),
                answer.failure,
                refused=bool(answer.failure),  # it fails where a question is too long
            )
            for answer in self._do(judge, job).answers
        ]

    def _model(self, judge: RewardModelJudge | LlmJudge) -> JudgeModel:
        return JudgeModel(
            judge.model,
            judge.revision,
            judge.max_model_len,
            self._sampling.dtype,
            self._sampling.gpu_memory_utilization,
            self._sampling.tensor_parallel_size,
        )

    def _do(self, judge: RewardModelJudge | LlmJudge, job: ModelJob[OnEngine]) -> OnEngine:
        key = f"{judge.kind} {judge.model} {judge.revision} {judge.max_model_len}"
        child = self._children.get(key)
        if child is None or not child.usable():
            if child is not None:
                child.close()
            self._make_room()
            child = self._children[key] = self._start("generation.judge_worker", "judging")
            self._seconds_start += child.seconds_start
        result = child.carry_out(job)
        self._seconds_start += result.seconds_start
        self.versions |= result.versions
        self.on_gpu = result.device != "cpu"
        return result


def _question(question: Question) -> Message:
    return Message("user", [(part.text, part.data) for part in question.parts])


def _conversation(completion: Completion) -> list[Message]:
    """Prompt and answer as a conversation, marked as data throughout."""
    prompt = completion.prompt
    messages = prompt.messages or ({"role": "user", "content": prompt.text or ""},)
    answer = {"role": "assistant", "content": completion.text}
    return [Message(m["role"], [(m["content"], True)]) for m in (*messages, answer)]
