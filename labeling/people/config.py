"""Configuration of how people are asked. Loading it imports nothing heavy."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from dpo_core.config import Count, Positive, Section, Share

DEFAULT_FOLDER = Path("argilla")
"""Default folder of `ratchet label serve`, in the current directory."""


class PeopleConfig(Section):
    """People label pairs in Argilla, one dataset per round, at one address per campaign.

    The server comes from the environment (ARGILLA_API_URL, ARGILLA_API_KEY), or is the one of
    `ratchet label serve` in `server_dir`.
    """

    server_dir: str | None = Field(None, description="folder of `ratchet label serve`")
    workspace: str = Field(
        "ratchet",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="Argilla workspace of the campaign's datasets",
    )
    guidelines: str | None = Field(None, description="text or file that annotators see")
    mode: Literal["blind", "review"] = Field(
        "blind", description="review: show the judge's verdict as a suggestion"
    )
    min_submitted: Count = Field(1, description="people who answer each pair")
    strength: bool = Field(False, description="also ask how much better the response is")
    comment: bool = Field(True, description="offer a comment field")
    gold: str | None = Field(None, description="JSONL of pairs with known verdicts")
    gold_share: Share = Field(
        0.0, description="share of all items that are hidden gold pairs, which measure accuracy"
    )
    repeat_share: Share = Field(
        0.0, description="share of all items that are hidden repeats, which measure consistency"
    )
    choose: Literal["worth", "random"] = Field(
        "worth", description="worth: where a label is worth most; random: by hash"
    )
    calibration_share: Share = Field(
        0.2, description="share of the labelled pairs picked at random for calibration"
    )
    show_agreement: bool = Field(
        False,
        description="tell annotators, once a round has its labels, how often they were right on "
        "gold pairs and answered repeated pairs alike",
    )
    quorum: Share = Field(1.0, description="share of the pairs that must be answered")
    deadline_hours: Positive | None = Field(
        None, description="hours to wait for answers; none: wait forever"
    )
    at_deadline: Literal["use", "judge", "wait", "stop"] = Field(
        "wait",
        description="after the deadline: use the answers so far, let the judge answer the rest, "
        "keep waiting, or stop with an error",
    )
    poll_s: Positive = Field(15.0, le=60, description="seconds between polls of the server")

    @property
    def server_folder(self) -> Path:
        """Folder of the label server, relative to where the campaign runs."""
        return Path(self.server_dir or DEFAULT_FOLDER)

    @model_validator(mode="after")
    def _possible(self) -> "PeopleConfig":
        if self.gold is not None and self.mode == "review":
            raise ValueError(
                "people.gold would stand out in mode review, since gold pairs have no judge's "
                "suggestion: set people.mode to blind, or remove gold and gold_share"
            )
        if self.deadline_hours is None and self.at_deadline != "wait":
            raise ValueError(
                f"people.at_deadline {self.at_deadline} needs a deadline: set "
                "people.deadline_hours, or remove at_deadline to wait for people"
            )
        return self


class BudgetConfig(Section):
    """The label budget of a round."""

    human_labels: Count | None = Field(
        None, description="most answers asked of people per round; none: every pair is asked"
    )
