"""Which trackers are told a campaign's numbers."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator

TrackerName = Literal["mlflow", "trackio", "wandb"]
NAMES: tuple[str, ...] = get_args(TrackerName)


def _listed(value: Any) -> Any:
    """`track: mlflow` is `track: [mlflow]`; one sentence for a wrong value."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(name in NAMES for name in names):
        raise ValueError(f"track must be one or a list of {', '.join(NAMES)} (found {value!r})")
    return tuple(dict.fromkeys(names))


Track = Annotated[tuple[TrackerName, ...], BeforeValidator(_listed)]
