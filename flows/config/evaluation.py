"""What of a round's policy is evaluated, beyond the numbers of prompts and intervals."""

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from dpo_core.config import Count, EvaluationConfig, Section
from labeling.judges.config import RuleJudge


class SuiteConfig(Section):
    """A regression suite: prompts of its own, each answered by every round's policy and scored by
    a rule. It fails when the answers score clearly lower than those of the last promoted policy."""

    prompts: str = Field(description="JSONL or parquet with `prompt` or `messages`")
    field: str = Field("prompt", description="name of the plain-text prompt field")
    judge: RuleJudge
    may_fall: float = Field(
        0.0, ge=0, description="by how much the mean score may fall, in the judge's own unit"
    )

    @field_validator("judge")
    @classmethod
    def _scores(cls, judge: RuleJudge) -> RuleJudge:
        if judge.gives != "score":
            raise ValueError(
                "a suite's judge scores each answer (found gives: verdict): give a rule that scores"
            )
        if judge.relevance is not None:
            raise ValueError(
                f"judge.relevance is for training (found {judge.relevance}): remove it"
            )
        return judge


class HarnessSuite(Section):
    """A task of lm-evaluation-harness as a regression suite: its prompts, few-shot examples,
    decoding and measure."""

    harness: str = Field(description="name of a task of lm-evaluation-harness")
    data: str = Field(description="folder with the task's data: a file for each split it names")
    limit: Count | None = Field(None, description="its first documents alone; none: all")
    metric: str | None = Field(
        None,
        description="of those that the task reports, also as `metric,filter`; none: the first one "
        "that is a mean over documents and better when it is higher",
    )
    max_tokens: Count | None = Field(
        None, description="most tokens of an answer; none: what the task says"
    )
    may_fall: float = Field(0.0, ge=0, description="by how much the mean score may fall")


def _suite_kind(suite: Any) -> str:
    named = isinstance(suite, dict) and "harness" in suite
    return SUITE_KINDS[named or isinstance(suite, HarnessSuite)]


SUITE_KINDS = ("of one's own", "of the harness")
"""As pydantic names them among the keys of an error."""

AnySuite = Annotated[
    Annotated[SuiteConfig, Tag(SUITE_KINDS[0])] | Annotated[HarnessSuite, Tag(SUITE_KINDS[1])],
    Discriminator(_suite_kind),
]

SuiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]


REQUESTS = 8
"""Of chats, where `relevance` is auto."""


class HeldOutConfig(EvaluationConfig):
    """Section `evaluation` of a campaign."""

    gate_prompts: Count | Literal["auto"] = Field(
        "auto",
        description="most gate prompts, drawn once; auto: 256, or an eighth of those there are, up "
        "to 1,024",
    )
    test_prompts: Count | Literal["auto"] = Field("auto", description="likewise, of the test split")
    opponents: Literal["previous", "all"] = Field(
        "previous",
        description="whom a judge that reads pairs compares each policy with, for the ratings: the "
        "previous policy and the base, or the policies of all rounds; scores compare all anyway",
    )
    training_judge: bool = Field(
        True,
        description="a training judge that is not the evaluation judge judges held-out answers "
        "too: over-optimisation shows by it",
    )
    training_judge_prompts: Count = Field(
        100,
        description="on how many test prompts a training judge that reads pairs compares each "
        "policy's first answer with those of the previous policy and the base, where "
        "`training_judge`; one that scores scores all",
    )
    slices: list[str] = Field(
        [],
        description="fields of a prompt's row by whose values win rates are told apart, besides "
        "`tags`, a list of words",
    )
    suites: dict[SuiteName, AnySuite] = Field(
        {}, description="by name; see SuiteConfig and HarnessSuite"
    )
    refusal_pattern: str | None = Field(
        None,
        description="regular expression, in any case, that finds refusals; none: how they begin in "
        "English",
    )
    relevance: Annotated[int, Field(ge=2)] | Literal["auto"] | None = Field(
        "auto",
        description="among how many requests the base model looks for that of each answer; auto: "
        f"{REQUESTS} where prompts are chats, and plain text is left out; 0 or null: not at all",
    )
    overlap_ngram: Count = Field(
        13, description="words in a row by which a held-out prompt overlaps with a training prompt"
    )

    @field_validator("relevance", mode="before")
    @classmethod
    def _relevance(cls, value: Any) -> Any:
        """One sentence for a wrong value, instead of one for each kind it might have been."""
        if value in ("auto", None) or (type(value) is int and value != 1 and value >= 0):
            return value or None
        raise ValueError(
            "evaluation.relevance must be auto, a number of requests of at least 2, or null to "
            f"leave it out (found {value!r})"
        )

    @field_validator("refusal_pattern")
    @classmethod
    def _pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(
                f"evaluation.refusal_pattern is no regular expression: {error} (found {pattern!r})"
                ": write \\( for ( and so on, where characters stand for themselves"
            ) from None
        return pattern

    @property
    def own_suites(self) -> dict[str, SuiteConfig]:
        """Those with prompts and a rule of the user's."""
        return {name: one for name, one in self.suites.items() if isinstance(one, SuiteConfig)}

    @property
    def harness_suites(self) -> dict[str, HarnessSuite]:
        """Those that are tasks of lm-evaluation-harness."""
        return {name: one for name, one in self.suites.items() if isinstance(one, HarnessSuite)}

    @property
    def requests(self) -> int | None:
        """Among how many the request of an answer is looked for, where it is."""
        return REQUESTS if self.relevance == "auto" else self.relevance
