"""A language model as a judge: questions from records, judgements from replies.

A reply is read strictly: it names one of the choices, or the judge abstains.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dpo_core.errors import NotRemembered
from dpo_core.records import Completion, Cost, Judgement, Pair, Prompt, Score, Side, Verdict
from labeling.judges.answers import answer_each_item, format_value
from labeling.judges.config import LlmJudge
from labeling.judges.endpoint import Endpoint
from labeling.judges.memory import ReplyMemory, reply_key
from labeling.judges.models import AskHere, Models
from labeling.judges.questions import Ask, Question, Reply, Take
from labeling.judges.rubric import load_rubric
from labeling.judges.spending import SpendingMeter

_BATCH = 256
_VERDICTS: Mapping[str, Verdict] = {"A": "a", "B": "b", "tie": "tie"}
_SHOWN = 80
_DECORATION = " \t*_`\"'.:"
_LABELS = ("verdict:", "score:", "answer:")
_DECISIVE = ("model", "revision", "endpoint", "max_tokens", "structured", "logprobs", "request")
"""The fields of a judge's section that its replies depend on, beside the question."""


class LocalModel:
    """Asks a model on this machine in batches within the budget; a callable like `Ask`."""

    def __init__(self, meter: SpendingMeter, ask: AskHere) -> None:
        self._meter = meter
        self._ask = ask

    def __call__(self, questions: Sequence[Question], take: Take) -> None:
        done = 0
        while done < len(questions):
            batch = self._fitting(questions[done : done + _BATCH])
            given = self._ask(self._meter.judge, batch)
            replies = answer_each_item(given, batch, Reply, lambda why: Reply("", failure=why))
            for number, reply in enumerate(replies, done):
                cost = self._meter.priced(reply.cost.tokens_in, reply.cost.tokens_out)
                self._meter.spend(cost)
                take(number, replace(reply, cost=cost))
            done += len(batch)

    def _fitting(self, batch: Sequence[Question]) -> Sequence[Question]:
        """As much of the batch as the budget covers. Raises BudgetSpent if that is nothing."""
        while batch:
            if self._meter.fits(sum(map(self._meter.estimate, batch), Cost())):
                return batch
            batch = batch[: len(batch) // 2]
        raise self._meter.refusal()


class LlmVerdicts:
    """Judges a pair with `a` read first; equal answers are a tie that costs nothing."""

    def __init__(self, config: LlmJudge, models: Models) -> None:
        self.source = config.source
        self._asking = _RubricCall(config, models)

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        asked = [(p.a.prompt, (p.a.text, p.b.text)) for p in pairs if p.a.text != p.b.text]
        read = iter(self._asking.read(asked))
        return [
            _as_judgement(next(read), pair)
            if pair.a.text != pair.b.text
            else Judgement("tie", "the answers are the same")
            for pair in pairs
        ]


class LlmScores:
    """Grades completions one by one."""

    def __init__(self, config: LlmJudge, models: Models) -> None:
        self.source = config.source
        self._asking = _RubricCall(config, models)

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        asked = [(c.prompt, (c.text,)) for c in completions]
        return [_as_score(read) for read in self._asking.read(asked)]


@dataclass(frozen=True)
class _Read:
    """A reply and the choice it names; `choice` None is an abstention, with the reason `why`."""

    reply: Reply
    choice: str | None
    probabilities: Mapping[str, float] | None = None
    why: str = ""
    question: Question | None = None


class _RubricCall:
    """Asks a model by a rubric, and remembers its replies."""

    def __init__(self, config: LlmJudge, models: Models) -> None:
        self._config = config
        self._rubric = load_rubric(config)
        self._models = models
        self._memory = ReplyMemory(models.replies)
        self._ask: Ask | None = None

    def read(self, asked: Sequence[tuple[Prompt, Sequence[str]]]) -> list[_Read]:
        questions = [self._question(prompt, answers) for prompt, answers in asked]
        replies = iter(self._replies([q for q in questions if isinstance(q, Question)]))
        return [
            _read(question, next(replies))
            if isinstance(question, Question)
            else _Read(Reply(""), None, why=question)
            for question in questions
        ]

    def _question(self, prompt: Prompt, answers: Sequence[str]) -> Question | str:
        """The question, or the reason why there is none."""
        reference = None
        if "reference" in self._rubric.names:
            reference = prompt.extra.get(self._config.reference_field)
            if reference is None:
                return f"the prompt has no field {self._config.reference_field}"
        return self._rubric.question(
            prompt.shown(), answers, None if reference is None else str(reference)
        )

    def _replies(self, questions: Sequence[Question]) -> list[Reply]:
        """One reply per question, remembered or from the model."""
        asked_of = {key: getattr(self._config, key) for key in _DECISIVE}
        keys = [reply_key(question, asked_of) for question in questions]
        replies = self._memory.get(keys)
        missing = {k: q for k, q in zip(keys, questions, strict=True) if k not in replies}
        order = list(missing)

        def take(number: int, reply: Reply) -> None:
            if not reply.failure:  # a failed question may succeed another time
                self._memory.put(order[number], reply)
            replies[order[number]] = reply
            self._models.report(len(replies), len(set(keys)), "replies")

        if missing:
            self._check_may_ask(len(missing))
            self._model()(list(missing.values()), take)
        return [replies[key] for key in keys]

    def _check_may_ask(self, missing: int) -> None:
        endpoint = self._config.endpoint
        if endpoint is not None and not self._models.ask_endpoints:
            raise NotRemembered(
                f"replies of {self._config.source} were not kept ({missing:,} missing), and "
                f"{endpoint} is not asked again"
            )
        if endpoint is not None:
            self._models.before_paying()

    def _model(self) -> Ask:
        if self._ask is None:
            meter = SpendingMeter(self._models.spending, self._config)
            local = self._config.endpoint is None
            self._ask = LocalModel(meter, self._models.ask) if local else Endpoint(meter)
        return self._ask


def _read(question: Question, reply: Reply) -> _Read:
    if reply.failure:
        return _Read(reply, None, why=reply.failure, question=question)
    text: object = reply.text  # may be anything from a model on this machine
    if not isinstance(text, str):
        return _Read(replace(reply, text=""), None, why=f"unreadable reply {format_value(text)}")
    choice = parse_choice(reply.text, question.choices)
    if choice is None:
        return _Read(reply, None, why=f"unreadable reply {reply.text[:_SHOWN]!r}")
    return _Read(
        reply, choice, choice_probabilities(reply.text, reply.first_token, question.choices)
    )


def _as_judgement(read: _Read, pair: Pair) -> Judgement:
    raw, cost = read.reply.text or None, read.reply.cost
    if read.choice is None:
        caused_by = _dominant_side(read.question, pair) if read.reply.refused else None
        return Judgement(None, read.why, raw=raw, cost=cost, caused_by=caused_by)
    confidence = read.probabilities[read.choice] if read.probabilities else None
    verdict = _VERDICTS[read.choice]
    return Judgement(verdict, f"replied {read.choice}", confidence, raw, cost=cost)


def _dominant_side(question: Question | None, pair: Pair) -> Side | None:
    """The side whose answer is more than half of the question's text."""
    whole = len(question.text) if question is not None else 0
    sides: tuple[tuple[Side, Completion], ...] = (("a", pair.a), ("b", pair.b))
    return next((side for side, c in sides if 2 * len(c.text) > whole), None)


def _as_score(read: _Read) -> Score:
    raw, cost = read.reply.text or None, read.reply.cost
    if read.choice is None:
        return Score(None, read.why, raw=raw, cost=cost)
    score = Score(float(read.choice), f"replied {read.choice}", raw=raw, cost=cost)
    if read.probabilities is None:
        return score
    mean = sum(float(choice) * p for choice, p in read.probabilities.items())
    return replace(score, value=mean)


def parse_choice(text: str, choices: Sequence[str]) -> str | None:
    """The choice that the reply's last line consists of, or None.

    A label such as "Verdict:" and Markdown around it are allowed, so that a rubric may ask for
    reasons first.

    Example:
        >>> parse_choice("B is vague. Verdict: **A**", ["A", "B"])
        >>> parse_choice("B is vague.\\nVerdict: **A**", ["A", "B"])
        'A'
    """
    lines = [line for line in text.splitlines() if line.strip(_DECORATION)]
    if not lines:
        return None
    last = lines[-1].strip(_DECORATION).casefold()
    for label in _LABELS:
        last = last.removeprefix(label).strip(_DECORATION)
    return next((choice for choice in choices if choice.casefold() == last), None)


def choice_probabilities(
    text: str, first_token: Mapping[str, float], choices: Sequence[str]
) -> dict[str, float] | None:
    """choice → its probability among the choices, from the first token's log-probs.

    A token counts for the one choice that it may begin.

    Args:
        text: the reply.
        first_token: token → log-prob (nats) of the reply's first token.

    Returns:
        Probabilities that sum to 1; None without log-probs, or when the reply is longer than its
        choice, since its first token then did not decide.

    Example:
        >>> choice_probabilities("A", {"A": -0.5, "B": -0.5}, ["A", "B"])
        {'A': 0.5, 'B': 0.5}
    """
    if text.strip().casefold() not in [choice.casefold() for choice in choices]:
        return None
    sums = dict.fromkeys(choices, 0.0)
    for token, logp in first_token.items():
        start = token.strip().casefold()
        fitting = [c for c in choices if start and c.casefold().startswith(start)]
        if len(fitting) == 1:
            sums[fitting[0]] += _probability(logp)
    total = sum(sums.values())
    return {choice: p / total for choice, p in sums.items()} if total > 0 else None


def _probability(logp: float) -> float:
    """exp(logp), at most 1; 0 for NaN and infinities, which some servers send."""
    return math.exp(min(logp, 0.0)) if math.isfinite(logp) else 0.0
