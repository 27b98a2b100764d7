"""The judge that a section of the config names."""

from collections.abc import Mapping

from dpo_core.import_path import source_hash
from labeling.judges.config import Judge, RuleJudge
from labeling.judges.protocol import PairwiseJudge, PointwiseJudge
from labeling.judges.rules import RuleScores, RuleVerdicts


def pointwise_judge(config: Judge) -> PointwiseJudge | None:
    """The judge that scores completions, or None when the configured one reads pairs."""
    if isinstance(config, RuleJudge) and config.gives == "score":
        return RuleScores(config.function, config.source)
    return None


def pairwise_judge(config: Judge) -> PairwiseJudge | None:
    """The judge that reads pairs, or None when the configured one scores completions."""
    if isinstance(config, RuleJudge) and config.gives == "verdict":
        return RuleVerdicts(config.function, config.source)
    return None


def judge_functions(config: Judge) -> Mapping[str, str]:
    """User code that the judge's answers depend on: import path → hash of its source."""
    if isinstance(config, RuleJudge):
        return {config.function: source_hash(config.function)}
    return {}
