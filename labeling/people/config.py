"""Configuration of how people are asked. Loading it imports nothing heavy."""

from typing import Literal

from pydantic import Field, model_validator

from dpo_core.config import Count, Positive, Section, Share


class PeopleConfig(Section):
    """People label pairs in Argilla, one dataset per round.

    The server is that of the environment (ARGILLA_API_URL, ARGILLA_API_KEY) or, without one, that
    of `ratchet label serve` in `server_dir`.
    """

    server_dir: str | None = Field(None, description="folder of `ratchet label serve`")
    workspace: str = Field("ratchet", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    guidelines: str | None = Field(None, description="text, or a file, that annotators see")
    mode: Literal["blind", "review"] = Field(
        "blind", description="review: the judge's verdict is shown as a suggestion"
    )
    min_submitted: Count = Field(1, description="people who answer each pair")
    strength: bool = Field(False, description="ask also how much better it is")
    comment: bool = Field(True, description="leave room for a comment")
    gold: str | None = Field(None, description="JSONL of pairs with known verdicts")
    gold_share: Share = Field(0.0, description="hidden pairs with a known verdict, of all asked")
    repeat_share: Share = Field(0.0, description="hidden pairs that are asked again, of all asked")
    choose: Literal["worth", "random"] = Field(
        "worth", description="worth: where a label is worth most; random: by hash"
    )
    calibration_share: Share = Field(
        0.2, description="of the pairs asked about, those picked at random for calibration"
    )
    quorum: Share = Field(1.0, description="share of the pairs asked about that must be answered")
    deadline_hours: Positive | None = Field(None, description="how long to wait; none: for ever")
    at_deadline: Literal["use", "judge", "wait", "stop"] = Field(
        "wait",
        description="use the answers that are there, let the judge answer the rest, keep waiting, "
        "or stop with an error",
    )
    poll_s: Positive = Field(15.0, le=60, description="seconds between two looks at the server")

    @model_validator(mode="after")
    def _possible(self) -> "PeopleConfig":
        if self.gold is not None and self.mode == "review":
            raise ValueError(
                "people.gold would stand out in mode review, since no judge has an opinion on it: "
                "set people.mode to blind, or remove gold and gold_share"
            )
        if self.deadline_hours is None and self.at_deadline != "wait":
            raise ValueError(
                f"people.at_deadline {self.at_deadline} needs a deadline: set "
                "people.deadline_hours, or remove at_deadline, and people are waited for"
            )
        return self


class BudgetConfig(Section):
    """What a round may cost."""

    human_labels: Count | None = Field(
        None, description="answers asked of people in one round; none: about every pair"
    )
