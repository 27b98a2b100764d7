"""Configuration of judges and pair selection. Loading it imports nothing heavy."""

from typing import Literal

from pydantic import Field

from dpo_core.config import Section


class JudgeConfig(Section):
    """Who says which answer is better.

    kind `rule`: a Python function by import path. With `gives: score` it is called with a list
    of `dpo_core.records.Completion` and returns one score each: a number, a (number, reason)
    pair or a `Score`. With `gives: verdict` it is called with a list of `Pair` and returns one
    verdict each: "a", "b", "tie", "both_bad", a (verdict, reason) pair or a `Judgement`.
    """

    kind: Literal["rule"] = "rule"
    function: str = Field(description="`package.module:function`")
    gives: Literal["score", "verdict"] = "score"


class PairsConfig(Section):
    """Which two completions of a prompt are compared."""

    strategy: Literal["best_worst", "random"] = "best_worst"
    min_margin: float = Field(
        0.0, ge=0, description="a best-worst pair whose score difference is not above it is dropped"
    )
    truncated: Literal["drop", "avoid", "keep"] = Field(
        "drop",
        description="answers cut at the length limit: drop the pairs they are in, avoid them when "
        "pairs are chosen, or keep them",
    )
