"""Section `evaluation`: held-out prompts, opponents, slices and regression suites."""

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from dpo_core.config import Count, EvaluationConfig, Section
from labeling.judges.config import RuleJudge


class SuiteConfig(Section):
    """A regression suite: every round's policy answers its prompts, and a rule scores the answers.
    It fails if they score significantly lower than those of the last promoted policy."""

    prompts: str = Field(description="JSONL or parquet with `prompt` or `messages`")
    field: str = Field("prompt", description="name of the plain-text prompt field")
    judge: RuleJudge
    may_fall: float = Field(
        0.0, ge=0, description="allowed fall of the mean score, in the judge's unit"
    )

    @field_validator("judge")
    @classmethod
    def _scores(cls, judge: RuleJudge) -> RuleJudge:
        if judge.gives != "score":
            raise ValueError(
                "a suite's judge must score each answer (found gives: verdict): set a rule that "
                "scores"
            )
        if judge.relevance is not None:
            raise ValueError(
                f"judge.relevance {judge.relevance} applies to training only, not to a suite: "
                "remove it"
            )
        return judge


class HarnessSuite(Section):
    """A task of lm-evaluation-harness as a regression suite, with its prompts, few-shot examples,
    decoding and metric."""

    harness: str = Field(description="name of a task of lm-evaluation-harness")
    data: str = Field(description="folder with the task's data: a file for each split")
    limit: Count | None = Field(None, description="number of documents, from the first; none: all")
    metric: str | None = Field(
        None,
        description="one that the task reports, as `metric` or `metric,filter`; none: the first "
        "that is a mean over documents and better when higher",
    )
    max_tokens: Count | None = Field(
        None, description="most tokens of an answer; none: the task's own limit"
    )
    may_fall: float = Field(0.0, ge=0, description="allowed fall of the mean score")


def _suite_kind(suite: Any) -> str:
    named = isinstance(suite, dict) and "harness" in suite
    return SUITE_KINDS[named or isinstance(suite, HarnessSuite)]


SUITE_KINDS = ("of one's own", "of the harness")
"""Tags of the union, which pydantic puts among the keys of an error."""

AnySuite = Annotated[
    Annotated[SuiteConfig, Tag(SUITE_KINDS[0])] | Annotated[HarnessSuite, Tag(SUITE_KINDS[1])],
    Discriminator(_suite_kind),
]

SuiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]


REQUESTS = 8
"""`relevance` of chats where it is auto."""


class HeldOutConfig(EvaluationConfig):
    """Section `evaluation` of a campaign."""

    gate_prompts: Count | Literal["auto"] = Field(
        "auto",
        description="most gate prompts, drawn once; auto: 256, or an eighth of the gate split, up "
        "to 1,024",
    )
    test_prompts: Count | Literal["auto"] = Field("auto", description="likewise for the test split")
    opponents: Literal["previous", "all"] = Field(
        "previous",
        description="opponents of each policy for the ratings, where the judge compares pairs: the "
        "previous policy and the base, or the policies of all rounds; scores compare all anyway",
    )
    training_judge: bool = Field(
        True,
        description="let a training judge that is not the evaluation judge judge held-out answers "
        "too, which reveals over-optimisation",
    )
    training_judge_prompts: Count = Field(
        100,
        description="with `training_judge`: test prompts on which a judge of pairs compares each "
        "policy's first answer with those of the previous policy and the base; a judge that "
        "scores takes all",
    )
    slices: list[str] = Field(
        [],
        description="fields of a prompt's row by whose values win rates are sliced, besides "
        "`tags`, a list of words",
    )
    suites: dict[SuiteName, AnySuite] = Field(
        {}, description="by name; see SuiteConfig and HarnessSuite"
    )
    refusal_pattern: str | None = Field(
        None,
        description="case-insensitive regular expression that finds refusals; none: their usual "
        "beginnings in English",
    )
    relevance: Annotated[int, Field(ge=2)] | Literal["auto"] | None = Field(
        "auto",
        description="number of requests among which the base model must find that of each answer; "
        f"auto: {REQUESTS} for chats, none for plain text; 0 or null: do not measure",
    )
    overlap_ngram: Count = Field(
        13, description="consecutive words that make a held-out and a training prompt overlap"
    )

    @field_validator("relevance", mode="before")
    @classmethod
    def _relevance(cls, value: Any) -> Any:
        """One message for a wrong value, instead of one for each member of the union."""
        if value in ("auto", None) or (type(value) is int and value != 1 and value >= 0):
            return value or None
        raise ValueError(
            "evaluation.relevance must be auto, a number of requests of at least 2, or null to "
            f"switch it off (found {value!r})"
        )

    @field_validator("refusal_pattern")
    @classmethod
    def _pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(
                f"evaluation.refusal_pattern is not a regular expression: {error} (found "
                f"{pattern!r}): escape literal characters, as in \\( for ("
            ) from None
        return pattern

    @property
    def own_suites(self) -> dict[str, SuiteConfig]:
        """Suites with the user's own prompts and rule."""
        return {
            name: suite for name, suite in self.suites.items() if isinstance(suite, SuiteConfig)
        }

    @property
    def harness_suites(self) -> dict[str, HarnessSuite]:
        """Suites that are tasks of lm-evaluation-harness."""
        items = self.suites.items()
        return {name: suite for name, suite in items if isinstance(suite, HarnessSuite)}

    @property
    def requests(self) -> int | None:
        """Requests among which that of an answer is looked for; None if it is not."""
        return REQUESTS if self.relevance == "auto" else self.relevance
