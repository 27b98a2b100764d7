"""Count prompts whose answers' scores differ, so that they can give a pair, also by tag."""

from collections import Counter
from collections.abc import Mapping, Sequence

from dpo_core.records import Prompt, prompt_tags

FEW = 0.5
"""Share of informative prompts below which there is a notice."""

_HARDLY = 0.1
_NAMED = 6


class InformativePrompts:
    """Counts prompts whose answers differ in score by more than `min_margin`, in total and by
    tag."""

    def __init__(self, min_margin: float) -> None:
        self.all = Counter[str]()
        self.able = Counter[str]()
        self.prompts = 0
        self.informative = 0
        self._min_margin = min_margin

    def add(self, prompt: Prompt, scores: Mapping[str, float | None]) -> None:
        """Count a prompt.

        scores: completion_id → score of its answers, None for an abstention. Does nothing without
        scores, since then no judge scores.
        """
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
        """A notice when fewer than FEW of the prompts are informative, or None."""
        if self.informative >= FEW * self.prompts:
            return None
        return (
            f"{self.informative} of {self.prompts} prompts can give a pair; for each of the others "
            f"the judge scores all answers alike.{self._tag_sentence()} Use prompts that the "
            "policy answers well only sometimes: remove those it always or never answers well, "
            "raise sampling.samples_per_prompt, or use a judge with finer scores."
        )

    def _tag_sentence(self) -> str:
        tags = self._uninformative_tags()
        if not tags:
            return ""
        listed = ", ".join(f"{tag} ({self.able[tag]} of {self.all[tag]})" for tag in tags[:_NAMED])
        more = f" and {len(tags) - _NAMED} more" if len(tags) > _NAMED else ""
        return f" Few or none with the tag {listed}{more}."

    def _uninformative_tags(self) -> Sequence[str]:
        """Tags with hardly any informative prompt, those with the most prompts first."""
        tags = [tag for tag, count in self.all.items() if self.able[tag] <= _HARDLY * count]
        return sorted(tags, key=lambda tag: (-self.all[tag], tag))
