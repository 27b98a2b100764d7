"""Sections `schedule`, `retries` and `notify`, and the trackers."""

import re
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, field_validator

from dpo_core.config import Count, Section
from dpo_core.errors import ConfigError

Times = Annotated[int, Field(ge=0)]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ScheduleConfig(Section):
    """Defaults of `ratchet schedule`, whose options override them."""

    cron: str | None = Field(None, description='for example "0 2 * * 1": Mondays at two')
    timezone: str | None = Field(None, description="such as Europe/Berlin; none: UTC")
    rounds: Count = Field(1, description="rounds that each tick adds to the finished ones")


def check_times(schedule: ScheduleConfig) -> None:
    """Raise ConfigError for a malformed cron line or an unknown timezone.

    Prefect validates the cron line fully when the schedule is created.
    """
    cron, timezone = schedule.cron, schedule.timezone
    if cron is not None and not cron.startswith("@") and len(cron.split()) not in (5, 6):
        raise ConfigError(
            f"schedule.cron {cron!r} is not a cron line",
            'Give minute, hour, day, month and weekday, such as "0 2 * * 1": Mondays at two.',
        )
    if timezone is None:
        return
    try:
        ZoneInfo(timezone)
    except (ValueError, OSError, KeyError):
        raise ConfigError(
            f"schedule.timezone {timezone!r} is not a timezone",
            "Give a name of the IANA database, such as Europe/Berlin.",
        ) from None


class RetriesConfig(Section):
    """Retries of a step whose process died or whose server did not answer.

    Bad input, a failed check and a full disk are never retried.
    """

    sample: Times = Field(2, description="sampling, also of held-out answers")
    judge: Times = Field(3, description="scores and verdicts, also of held-out answers")
    train: Times = Field(1, description="training, also of the base policy")
    labels: Times = Field(5, description="asking people and reading their answers")
    delay_s: float = Field(10.0, ge=0, description="seconds before a step is retried")


class NotifyConfig(Section):
    """Who is notified. Addresses are secrets, so the config names environment variables."""

    webhook: str | None = Field(
        None, description="variable with a URL that receives JSON: event, campaign, text"
    )
    slack: str | None = Field(None, description="variable with the URL of a Slack webhook")
    on: list[Literal["waiting", "gate", "failure"]] = Field(
        ["waiting", "gate", "failure"],
        description="waiting for people, decisions of the gate, failures",
    )

    @field_validator("webhook", "slack")
    @classmethod
    def _names_a_variable(cls, value: str | None) -> str | None:
        if value is None or _VARIABLE.fullmatch(value):
            return value
        raise ValueError(
            "notify.webhook and notify.slack must name an environment variable that holds the "
            "address, such as RATCHET_WEBHOOK, because campaign.yaml may hold no secret"
        )


TrackerName = Literal["mlflow", "trackio", "wandb"]
NAMES: tuple[str, ...] = get_args(TrackerName)


def _listed(value: Any) -> Any:
    """Accept one name for a list of one; one message for a wrong value."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(name in NAMES for name in names):
        raise ValueError(f"track must be one or a list of {', '.join(NAMES)} (found {value!r})")
    return tuple(dict.fromkeys(names))


Track = Annotated[tuple[TrackerName, ...], BeforeValidator(_listed)]
