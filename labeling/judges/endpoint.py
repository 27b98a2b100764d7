"""Questions to a server that speaks OpenAI's protocol, several at a time within the budget."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dpo_core.errors import ConfigError, EndpointFailed, JudgeError, RatchetError
from dpo_core.records import Cost
from labeling.judges.answers import replace_surrogates
from labeling.judges.config import LlmJudge
from labeling.judges.questions import Question, Reply, Take
from labeling.judges.spending import SpendingMeter

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_TOP_LOGPROBS = 20  # the most that the protocol allows
_OF_THE_QUESTION = ("context", "too long", "maximum", "content_filter", "content policy")
"""Words of a refusal (HTTP 400) that is about this question, not about how it was sent."""
_SHOWN = 300
_LATE_IN_A_ROW = 8
_NO_REPLY = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What reading something else than a reply may raise."""
_AGAIN = "Replies are kept: the same `ratchet run` goes on where this one stopped."


def endpoint_key(config: LlmJudge) -> str:
    """The key of the endpoint. Raises ConfigError when the environment does not hold it."""
    if config.api_key_env is None:
        return "none"
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"the judge {config.source} needs the key of {config.endpoint} in the environment "
            f"variable {config.api_key_env}, which is not set",
            f"Type export {config.api_key_env}=…, or set judge.api_key_env (null: it needs none).",
        )
    return key


class Endpoint:
    """One server and model; a callable like labeling.judges.questions.Ask."""

    def __init__(self, meter: SpendingMeter) -> None:
        self._config = meter.judge
        self._key = endpoint_key(meter.judge)
        self._meter = meter

    def __call__(self, questions: Sequence[Question], take: Take) -> None:
        asyncio.run(_EndpointCall(self._config, self._key, self._meter, take).all(questions))


class _EndpointCall:
    """The requests of one call: so many at a time, none beyond the budget, none after a failure."""

    def __init__(self, config: LlmJudge, key: str, meter: SpendingMeter, take: Take) -> None:
        self._config, self._key, self._meter, self._take = config, key, meter, take
        self._free = asyncio.Semaphore(config.concurrency)
        self._settled = asyncio.Condition()
        self._reserved: dict[int, Cost] = {}  # of requests under way
        self._failure: RatchetError | None = None
        self._late = 0  # in a row

    async def all(self, questions: Sequence[Question]) -> None:
        from openai import AsyncOpenAI

        config = self._config
        async with AsyncOpenAI(
            base_url=config.endpoint,
            api_key=self._key,
            max_retries=config.retries,
            timeout=config.timeout_s,
        ) as client:
            await asyncio.gather(*(self._one(client, n, q) for n, q in enumerate(questions)))
        if self._failure is not None:  # after all that was under way has been kept
            raise self._failure

    async def _one(self, client: "AsyncOpenAI", number: int, question: Question) -> None:
        async with self._free:
            try:
                if not await self._reserve(number, question):
                    return
                reply = await self._reply(client, question)
                self._meter.spend(reply.cost)
                self._take(number, reply)
            except RatchetError as error:
                self._failure = self._failure or error
            finally:
                await self._settle(number)

    async def _reserve(self, number: int, question: Question) -> bool:
        """Wait until the budget holds the question beside those under way; False: ask no more."""
        estimate = self._meter.estimate(question)
        async with self._settled:
            while self._failure is None:
                if self._meter.fits(sum(self._reserved.values(), estimate)):
                    self._reserved[number] = estimate
                    return True
                if not self._reserved:
                    raise self._meter.refusal()
                await self._settled.wait()
        return False

    async def _settle(self, number: int) -> None:
        async with self._settled:
            self._reserved.pop(number, None)
            self._settled.notify_all()

    async def _reply(self, client: "AsyncOpenAI", question: Question) -> Reply:
        import openai

        try:
            answered = await client.chat.completions.with_raw_response.create(
                **self._request(question)
            )
        except openai.BadRequestError as error:
            return self._refused(error)
        except openai.APIStatusError as error:
            raise self._failed(f"answered HTTP {error.status_code}: {error.message}") from None
        except openai.APIConnectionError as error:
            # By its name: which HTTP library raises it is the client's own business.
            late = type(error.__cause__).__name__ == "ReadTimeout"
            if late and not self._hangs():
                why = f"no answer within {self._config.timeout_s:g} s"
                return Reply("", cost=self._meter.estimate(question), failure=why)
            raise self._failed(f"did not answer: {error} ({error.__cause__})") from None
        self._late = 0
        return self._read(answered.http_response.text, question)

    def _request(self, question: Question) -> dict[str, Any]:
        config = self._config
        request: dict[str, Any] = {
            "model": config.model,
            "messages": [{"role": "user", "content": question.text}],
            "max_tokens": config.max_tokens,
            "temperature": 0.0,
        }
        if config.logprobs:
            request |= {"logprobs": True, "top_logprobs": _TOP_LOGPROBS}
        more: dict[str, Any] = {}
        if config.structured:
            more["structured_outputs"] = {"choice": list(question.choices)}
        for key, value in config.request.items():
            if value is None:
                request.pop(key, None)
            else:
                more[key] = value
        return {**request, "extra_body": more}

    def _hangs(self) -> bool:
        """Whether this late answer is one of so many in a row that the server answers nobody; a
        single one is about its question."""
        self._late += 1
        return self._late >= max(_LATE_IN_A_ROW, self._config.concurrency)

    def _refused(self, error: Any) -> Reply:
        text = self._hidden(str(error.message))
        if any(word in text.lower() for word in _OF_THE_QUESTION):
            failure = f"the endpoint refused the question: {text[:_SHOWN]}"
            return Reply("", failure=failure, refused=True)
        raise JudgeError(
            f"{self._config.endpoint} refuses requests of the judge {self._config.source}: "
            f"{text[:_SHOWN]}",
            "If it does not know logprobs, set judge.logprobs to false; judge.request changes any "
            "other field, such as {max_tokens: null, max_completion_tokens: 512}.",
        )

    def _failed(self, how: str) -> EndpointFailed:
        config = self._config
        tried = f", after {config.retries} retries" if config.retries else ""
        return EndpointFailed(
            f"{config.endpoint} (judge {config.source}) {self._hidden(how)[:_SHOWN]}{tried}", _AGAIN
        )

    def _read(self, body: str, question: Question) -> Reply:
        """The reply in the body of an answer; whatever is no reply is kept as it came."""
        body = replace_surrogates(self._hidden(body))
        try:
            choice = json.loads(body)["choices"][0]
            text = choice["message"]["content"]
            cut = choice.get("finish_reason") == "length"
            text = replace_surrogates(text)  # which only a text can be
        except _NO_REPLY:
            cost = self._cost(body, question)
            return Reply(body, cost=cost, failure="the endpoint's answer holds no reply")
        return Reply(
            text,
            _first_token(choice.get("logprobs")),
            self._cost(body, question),
            f"the reply was cut at {self._config.max_tokens} tokens" if cut else "",
        )

    def _cost(self, body: str, question: Question) -> Cost:
        """By the tokens that the server names, or by an estimate that is rather too high."""
        try:
            usage = json.loads(body)["usage"]
            tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        except _NO_REPLY:
            tokens = (-1, -1)
        return self._meter.priced(*tokens) if min(tokens) >= 0 else self._meter.estimate(question)

    def _hidden(self, text: str) -> str:
        """`text` without the key, which some servers repeat."""
        return text.replace(self._key, "[key]") if self._config.api_key_env else text


def _first_token(logprobs: Any) -> Mapping[str, float]:
    """Log-probs of what might have stood first, by text; empty when the server gives none."""
    try:
        first = next(entry for entry in logprobs["content"] if entry["token"].strip())
        tops = [*first.get("top_logprobs", ()), first]
        return {replace_surrogates(str(entry["token"])): float(entry["logprob"]) for entry in tops}
    except (*_NO_REPLY, StopIteration):
        return {}
