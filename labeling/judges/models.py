"""What judges need from outside of labeling: models on this machine, and files.

`flows` provides it: models run in child processes of `generation`, which labeling never imports.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo_core.children import Report
from dpo_core.records import Completion, Score
from labeling.judges.config import LlmJudge, RewardModelJudge
from labeling.judges.questions import Question, Reply

Rate = Callable[[RewardModelJudge, Sequence[Completion]], list[Score]]
"""Raw scores of a reward model, in order; abstentions for answers that are too long."""

AskHere = Callable[[LlmJudge, Sequence[Question]], list[Reply]]
"""Replies of a model on this machine, in order."""


@dataclass(frozen=True)
class Models:
    """Callables and files that the judges of a campaign share."""

    rate: Rate
    ask: AskHere
    replies: Path
    """File of remembered replies."""
    spending: Path
    """File of what judges spent."""
    report: Report
    """Called with progress within a batch."""
    ask_endpoints: bool = True
    """Whether endpoints, which cost money, are asked for replies that are not remembered."""
    before_paying: Callable[[], object] = lambda: None
    """Called before endpoints are asked."""
