"""Ask a server with OpenAI's API, several questions at a time, within the budget."""

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

_TOP_LOGPROBS = 20  # the API's maximum
_QUESTION_REFUSED = ("context", "too long", "maximum", "content_filter", "content policy")
"""Words that mark a refusal (HTTP 400) of this question, as opposed to any request."""
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
"""Errors of reading a response that holds no reply."""
_AGAIN = "Run the same `ratchet run` again to resume; all replies so far are kept."


def endpoint_key(config: LlmJudge) -> str:
    """The key of the endpoint. Raises ConfigError when the environment does not hold it."""
    if config.api_key_env is None:
        return "none"
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"the judge {config.source} needs the key of {config.endpoint} in the environment "
            f"variable {config.api_key_env}, which is not set",
            f"Type export {config.api_key_env}=…, or set judge.api_key_env: null if it needs none.",
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
    """The requests of one call: limited in number and by the budget, none after a failure."""

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
        if self._failure is not None:  # after keeping the replies to requests in flight
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
        """Wait until the budget covers the question and those in flight; False after a failure."""
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
            # By name, since the HTTP library that raises it is the client's choice.
            late = type(error.__cause__).__name__ == "ReadTimeout"
            if late and not self._is_hanging():
                why = f"no answer within {self._config.timeout_s:g} s"
                return Reply("", cost=self._meter.estimate(question), failure=why)
            raise self._failed(f"did not answer: {error} ({error.__cause__})") from None
        self._late = 0
        return self._read(answered.http_response.text, question)

    def _request(self, question: Question) -> dict[str, Any]:
        config = self._config
        request: dict[str, object] = {
            "model": config.model,
            "messages": [{"role": "user", "content": question.text}],
            "max_tokens": config.max_tokens,
            "temperature": 0.0,
        }
        if config.logprobs:
            request |= {"logprobs": True, "top_logprobs": _TOP_LOGPROBS}
        more: dict[str, object] = {}
        if config.structured:
            more["structured_outputs"] = {"choice": list(question.choices)}
        for key, value in config.request.items():
            if value is None:
                request.pop(key, None)
            else:
                more[key] = value
        return {**request, "extra_body": more}

    def _is_hanging(self) -> bool:
        """Count a timeout; whether so many in a row mean that the server is down.

        A single timeout is taken for a slow question.
        """
        self._late += 1
        return self._late >= max(_LATE_IN_A_ROW, self._config.concurrency)

    def _refused(self, error: Any) -> Reply:
        text = self._hide_key(str(error.message))
        if any(word in text.lower() for word in _QUESTION_REFUSED):
            failure = f"the endpoint refused the question: {text[:_SHOWN]}"
            return Reply("", failure=failure, refused=True)
        raise JudgeError(
            f"{self._config.endpoint} refuses requests of the judge {self._config.source}: "
            f"{text[:_SHOWN]}",
            "If it does not support logprobs, set judge.logprobs to false; judge.request changes "
            "any other field, such as {max_tokens: null, max_completion_tokens: 512}.",
        )

    def _failed(self, how: str) -> EndpointFailed:
        config = self._config
        retried = f", after {config.retries} retries" if config.retries else ""
        return EndpointFailed(
            f"{config.endpoint} (judge {config.source}) {self._hide_key(how)[:_SHOWN]}{retried}",
            _AGAIN,
        )

    def _read(self, body: str, question: Question) -> Reply:
        """The reply in a response body; a body without reply is kept as text."""
        body = replace_surrogates(self._hide_key(body))
        try:
            choice = json.loads(body)["choices"][0]
            text = choice["message"]["content"]
            cut = choice.get("finish_reason") == "length"
            text = replace_surrogates(text)  # raises AttributeError for anything but text
        except _NO_REPLY:
            cost = self._cost(body, question)
            return Reply(body, cost=cost, failure="the endpoint's response holds no reply")
        return Reply(
            text,
            _first_token(choice.get("logprobs")),
            self._cost(body, question),
            f"the reply was cut at {self._config.max_tokens} tokens" if cut else "",
        )

    def _cost(self, body: str, question: Question) -> Cost:
        """Cost by the server's token counts, or a conservative estimate without them."""
        try:
            usage = json.loads(body)["usage"]
            tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        except _NO_REPLY:
            tokens = (-1, -1)
        return self._meter.priced(*tokens) if min(tokens) >= 0 else self._meter.estimate(question)

    def _hide_key(self, text: str) -> str:
        """`text` without the key, which some servers echo."""
        return text.replace(self._key, "[key]") if self._config.api_key_env else text


def _first_token(logprobs: Any) -> Mapping[str, float]:
    """token → log-prob (nats) of the reply's first token; empty when the server gives none."""
    try:
        first = next(entry for entry in logprobs["content"] if entry["token"].strip())
        tops = [*first.get("top_logprobs", ()), first]
        return {replace_surrogates(str(entry["token"])): float(entry["logprob"]) for entry in tops}
    except (*_NO_REPLY, StopIteration):
        return {}
