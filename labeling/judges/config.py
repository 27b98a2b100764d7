"""Configuration of judges. Loading it imports nothing heavy."""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import Discriminator, Field, JsonValue, Tag, field_validator, model_validator

from dpo_core.config import Count, Positive, Section

DEFAULT_KIND = "rule"
_RUBRICS = {"verdict": "pairwise", "score": "pointwise"}
STEERS_NO_ANSWER = frozenset(
    {
        "weight",
        "api_key_env",
        "concurrency",
        "retries",
        "timeout_s",
        "budget_money",
        "budget_tokens",
        "money_per_million_tokens_in",
        "money_per_million_tokens_out",
    }
)
"""Fields that do not affect a judge's answers."""


class _AnyJudge(Section):
    asks_people: ClassVar[bool] = False
    gives_rewards: ClassVar[bool] = False
    """Whether scores are rewards of a Bradley-Terry model: a beats b with σ(score a − score b)."""

    weight: Positive = Field(1.0, description="how much its verdict counts in a committee")
    id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$",
        description="name in the judgements, instead of one made from the judge's kind and model",
    )

    @property
    def asks_relevance(self) -> bool:
        """Whether a score depends on the base model's log-probs of the answer."""
        return False

    @property
    def functions(self) -> tuple[str, ...]:
        """Import paths of the user functions that it calls."""
        return ()

    @property
    def endpoints(self) -> tuple[tuple[str, str | None], ...]:
        """(URL, environment variable with the key) of the endpoints that it asks."""
        return ()


class RuleJudge(_AnyJudge):
    """A Python function by import path.

    With `gives: score` it is called with a list of `dpo_core.records.Completion` and returns one
    score each: a number, a (number, reason) pair or a `Score`. With `gives: verdict` it is called
    with a list of `Pair` and returns one verdict each: "a", "b", "tie", "both_bad", a
    (verdict, reason) pair or a `Judgement`.
    """

    kind: Literal["rule"] = Field("rule", description="a Python function")
    function: str = Field(description="`package.module:function`")
    gives: Literal["score", "verdict"] = Field(
        "score", description="a number for each answer, or a verdict for each pair"
    )
    relevance: int | None = Field(
        None,
        ge=2,
        description="a score above 0 counts only if the base model matches the answer to its own "
        "prompt among this many; otherwise it is 0",
    )

    @property
    def source(self) -> str:
        return self.id or f"rule:{self.function}"

    @property
    def asks_relevance(self) -> bool:
        return self.relevance is not None

    @property
    def functions(self) -> tuple[str, ...]:
        return (self.function,)

    @model_validator(mode="after")
    def _scores(self) -> "RuleJudge":
        if self.relevance is not None and self.gives != "score":
            raise ValueError(
                f"judge.relevance needs gives: score (found gives: {self.gives}): remove one of "
                "them"
            )
        return self


class RewardModelJudge(_AnyJudge):
    """A sequence-classification model with one output; its raw output is the score."""

    gives_rewards: ClassVar[bool] = True

    kind: Literal["reward_model"] = Field(description="a sequence classifier with one output")
    model: str = Field(description="folder or hub id")
    revision: str | None = Field(None, description="hub revision of `model`")
    max_model_len: Count | None = Field(
        None, description="most tokens of prompt and answer; it abstains on longer ones"
    )
    gives: Literal["score"] = Field("score", description="a number for each answer")

    @property
    def source(self) -> str:
        return self.id or f"reward_model:{self.model}"


class LlmJudge(_AnyJudge):
    """A language model that reads a rubric, in a child process or behind an endpoint.

    `endpoint` is the base URL of a server with OpenAI's API; without one, vLLM runs `model` (a
    folder or hub id) on this machine. The endpoint's key is read from the environment variable
    `api_key_env` and is sent nowhere else.

    `gives: verdict` reads each pair in both orders; `gives: score` grades answers one by one from
    1 to 9, as the mean grade under the model's probabilities where the engine returns them.
    """

    kind: Literal["llm"] = Field(description="a language model that reads a rubric")
    model: str = Field(
        description="folder or hub id; with `endpoint`, the name that the server knows"
    )
    revision: str | None = Field(None, description="hub revision of `model`")
    endpoint: str | None = Field(
        None, description="such as https://host/v1; none: run the model on this machine"
    )
    api_key_env: str | None = Field(
        "OPENAI_API_KEY", description="environment variable with the key; none: no key is needed"
    )
    structured: bool = Field(
        False,
        description="the endpoint can restrict replies to a choice (vLLM's structured_outputs)",
    )
    logprobs: bool = Field(
        True, description="request log-probs from the endpoint, which give confidence"
    )
    request: dict[str, JsonValue] = Field(
        {}, description="extra fields of each request to the endpoint; null removes a field"
    )
    rubric: str | None = Field(
        None,
        description="pairwise, pointwise, reference, principles, or a file; none: pairwise for "
        "verdicts, pointwise for scores",
    )
    reference_field: str = Field(
        "reference", description="field of a prompt's row with the reference answer"
    )
    principles: list[str] = Field([], description="sentences for the rubric `principles`")
    gives: Literal["verdict", "score"] = Field(
        "verdict", description="a verdict for each pair, or a grade for each answer"
    )
    max_tokens: Count = Field(256, description="most tokens of an unconstrained reply")
    max_model_len: Count | None = Field(
        None, description="most tokens of question and reply; none: the model's own limit"
    )
    concurrency: Count = Field(8, description="most requests at a time")
    retries: int = Field(6, ge=0, description="retries of a request, with increasing waits")
    timeout_s: Positive = Field(120.0, description="seconds to wait for a reply of the endpoint")
    money_per_million_tokens_in: float = Field(
        0.0, ge=0, description="price of a million tokens read"
    )
    money_per_million_tokens_out: float = Field(
        0.0, ge=0, description="price of a million tokens written"
    )
    budget_money: Positive | None = Field(
        None, description="most money per campaign, which then stops"
    )
    budget_tokens: Count | None = Field(
        None, description="most tokens per campaign, which then stops"
    )

    @property
    def source(self) -> str:
        return self.id or f"llm:{self.model}"

    @property
    def rubric_name(self) -> str:
        return self.rubric or _RUBRICS[self.gives]

    @property
    def endpoints(self) -> tuple[tuple[str, str | None], ...]:
        return ((self.endpoint, self.api_key_env),) if self.endpoint is not None else ()

    @property
    def needs_key(self) -> bool:
        return self.endpoint is not None and self.api_key_env is not None

    @model_validator(mode="after")
    def _possible(self) -> "LlmJudge":
        other = "score" if self.gives == "verdict" else "verdict"
        if self.rubric == _RUBRICS[other]:
            raise ValueError(
                f"judge.rubric {self.rubric} needs gives: {other} (found gives: {self.gives}): "
                "change one of them"
            )
        if self.budget_money is not None and not (
            self.money_per_million_tokens_in or self.money_per_million_tokens_out
        ):
            raise ValueError(
                "judge.budget_money needs prices: set judge.money_per_million_tokens_in and "
                "judge.money_per_million_tokens_out, or use judge.budget_tokens"
            )
        remote = ("structured", "request")
        for key in ("revision", "max_model_len") if self.endpoint is not None else remote:
            if getattr(self, key):
                where = "on this machine" if self.endpoint is not None else "behind an endpoint"
                raise ValueError(f"judge.{key} applies only to a model {where}: remove it")
        return self

    @field_validator("request", mode="before")
    @classmethod
    def _is_json(cls, value: object) -> object:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(
                f"judge.request must be JSON, without NaN or infinity (found {value!r}): remove it"
            ) from None
        return value

    @field_validator("endpoint")
    @classmethod
    def _endpoint(cls, value: str | None) -> str | None:
        parts = _url_parts(value or "http://none")
        if parts is None:
            raise ValueError(
                f"judge.endpoint must be a URL such as https://host/v1 (found {value!r})"
            )
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "judge.endpoint holds a secret, which would be stored with the config: put the key "
                "into the environment variable that judge.api_key_env names"
            )
        return value


def _url_parts(value: str) -> SplitResult | None:
    """The parts of an HTTP URL; None for anything else."""
    try:
        parts = urlsplit(value)
        possible = parts.port != 0 and parts.scheme in ("http", "https") and parts.hostname
    except ValueError:  # a port out of range, or an incomplete address
        return None
    return parts if possible and not re.search(r"[\s\0-\x1f]", value) else None


class HumanJudge(_AnyJudge):
    """People, through Argilla; the section `people` configures how they are asked."""

    asks_people: ClassVar[bool] = True
    gives: ClassVar[None] = None

    kind: Literal["human"] = Field(description="people, who label in Argilla")

    @property
    def source(self) -> str:
        return "human"


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("kind", DEFAULT_KIND))
    return str(getattr(value, "kind", DEFAULT_KIND))


Judge = (
    Annotated[RuleJudge, Tag("rule")]
    | Annotated[RewardModelJudge, Tag("reward_model")]
    | Annotated[LlmJudge, Tag("llm")]
    | Annotated[HumanJudge, Tag("human")]
)
"""One source of judgements; labeling.judges.make.KINDS holds how each kind is made."""

_SingleJudge = Annotated[Judge, Discriminator(_kind)]


class CommitteeJudge(Section):
    """Several judges; each counts by its `weight`."""

    kind: Literal["committee"] = Field(description="several judges, each with a weight")
    members: Annotated[list[_SingleJudge], Field(min_length=2)]

    @model_validator(mode="after")
    def _distinct(self) -> "CommitteeJudge":
        sources = [member.source for member in self.members]
        twice = next((source for source in sources if sources.count(source) > 1), None)
        if twice is not None:
            raise ValueError(
                f"judge.members: two judges are named {twice}: give one of them another `id`"
                if twice != "human"
                else "judge.members: people are one member: remove the other of kind human"
            )
        return self


JudgeConfig = Annotated[Judge | Annotated[CommitteeJudge, Tag("committee")], Discriminator(_kind)]
"""Who says which answer is better."""

AnyJudgeConfig = Judge | CommitteeJudge

JUDGE_KINDS = tuple(tagged.__metadata__[0].tag for tagged in get_args(get_args(JudgeConfig)[0]))


def members(config: AnyJudgeConfig) -> tuple[Judge, ...]:
    """The judges that a section names, including people."""
    return tuple(config.members) if isinstance(config, CommitteeJudge) else (config,)


def machines(config: AnyJudgeConfig) -> Iterator[Judge]:
    """The judges of a section without people."""
    return (member for member in members(config) if not member.asks_people)


def asks_people(config: AnyJudgeConfig) -> bool:
    return any(member.asks_people for member in members(config))


def asks_relevance(config: AnyJudgeConfig) -> bool:
    """Whether a score depends on the base model's log-probs of the answer."""
    return any(member.asks_relevance for member in members(config))


def gives_scores(config: AnyJudgeConfig) -> bool:
    """Whether completions get scores, by which pairs can be selected."""
    return any(member.gives == "score" for member in machines(config))
