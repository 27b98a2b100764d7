"""What judges need that labeling does not have: models that run here, and places to keep things.

`flows` fills it: the models run in child processes of `generation`, which labeling never sees.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo_core.children import Report
from dpo_core.records import Completion, Score
from labeling.judges.config import LlmJudge, RewardModelJudge
from labeling.judges.questions import Question, Reply

Rate = Callable[[RewardModelJudge, Sequence[Completion]], list[Score]]
"""Raw scores of a reward model, in order; abstentions for what is too long for it."""

AskHere = Callable[[LlmJudge, Sequence[Question]], list[Reply]]
"""Replies of a model that runs here, in order."""


@dataclass(frozen=True)
class Models:
    """The callables and files that `make` gives to the judges of a campaign."""

    rate: Rate
    ask: AskHere
    replies: Path
    """File of remembered replies."""
    spending: Path
    """File of what was spent."""
    report: Report
    """Hears of progress within a batch."""
    ask_endpoints: bool = True
    """Whether endpoints, which cost money, are asked for what is not remembered."""
