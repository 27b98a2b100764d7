"""What `ratchet evaluate` shows while it works: models by their letters, not rounds."""

from dpo_core.campaign.store import Artifact
from flows.progress import CampaignProgress

_WHAT = {
    (1, "answers"): "A answers",
    (2, "answers"): "B answers",
    (1, "answer_scores"): "the judge scores A's answers",
    (2, "answer_scores"): "the judge scores B's answers",
}


class TwoModelsProgress(CampaignProgress):
    """Says which model answers now, and how many answers that came to."""

    def step_started(self, number: int, step: str) -> None:
        super().step_started(number, step)
        self.say(_WHAT.get((number, step), step))

    def step_finished(self, artifact: Artifact) -> None:
        entry = artifact.entry
        if what := _WHAT.get((entry.round, entry.step)):
            self.note(f"{what}: {entry.kept:,} in {entry.seconds:.1f} s")
