"""Which prompts can give a pair at all, by the scores of their answers, and which tags cannot."""

from collections import Counter
from collections.abc import Mapping, Sequence

from dpo_core.records import Prompt, prompt_tags

FEW = 0.5
"""Share of the prompts below which it is said."""

_HARDLY = 0.1
_NAMED = 6


class InformativePrompts:
    """Counts prompts whose answers differ in score by more than `min_margin`, also by tag."""

    def __init__(self, min_margin: float) -> None:
        self.all = Counter[str]()
        self.able = Counter[str]()
        self.prompts = 0
        self.informative = 0
        self._min_margin = min_margin

    def add(self, prompt: Prompt, scores: Mapping[str, float | None]) -> None:
        """scores: of the prompt's answers; None for an abstention. Without any it is not counted:
        no judge scores."""
        if not scores:
            return
        known = [score for score in scores.values() if score is not None]
        differs = bool(known) and max(known) - min(known) > self._min_margin
        self.prompts += 1
        self.informative += differs
        for tag in set(prompt_tags(prompt.extra)):
            self.all[tag] += 1
            self.able[tag] += differs

    @property
    def notice(self) -> str | None:
        """What to do, where fewer than FEW of the prompts can give a pair."""
        if self.informative >= FEW * self.prompts:
            return None
        return (
            f"{self.informative} of {self.prompts} prompts can give a pair; the judge scores all "
            f"answers to each of the others alike.{self._tagged()} Ask for what the policy does "
            "sometimes: leave out what it always or never does, raise "
            "sampling.samples_per_prompt, or let the judge score in finer steps."
        )

    def _tagged(self) -> str:
        named = self._unable()
        if not named:
            return ""
        shown = ", ".join(f"{tag} ({self.able[tag]} of {self.all[tag]})" for tag in named[:_NAMED])
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        return f" Hardly any or none with the tag {shown}{more}."

    def _unable(self) -> Sequence[str]:
        """Tags of which hardly any prompt can, those with the most prompts first."""
        found = [tag for tag, count in self.all.items() if self.able[tag] <= _HARDLY * count]
        return sorted(found, key=lambda tag: (-self.all[tag], tag))
