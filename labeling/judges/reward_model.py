"""A reward model: the raw score of prompt and answer."""

from collections.abc import Sequence

from dpo_core.records import Completion, Score
from labeling.judges.config import RewardModelJudge
from labeling.judges.models import Models


class RewardScores:
    """Scores completions by the model's raw rewards."""

    def __init__(self, config: RewardModelJudge, models: Models) -> None:
        self.source = config.source
        self._config = config
        self._models = models

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        return self._models.rate(self._config, completions)
