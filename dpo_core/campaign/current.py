"""current.json: which version of each round's steps is valid now, and facts about the campaign as a
whole. The ledger is the truth; all but the facts follow from it when the campaign is run.

The file is sealed: one that is not as it was written is refused, never misread.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from dpo_core.campaign.layout import Layout, round_name, round_number
from dpo_core.errors import ArtifactCorrupted
from dpo_core.sealed import BrokenSeal, read_sealed, write_sealed
from dpo_core.seen_files import cache_by_file

Steps = Mapping[str, str]
"""step → name of its folder, in the order in which the steps ran."""


@dataclass(frozen=True)
class PromotedPolicy:
    """The policy of a round (0: the base) that the next one starts from, and where it is."""

    round: int
    policy: str = ""
    path: str = ""


@dataclass(frozen=True)
class StopReason:
    """Why a campaign ended early: the name of the rule, and a sentence."""

    rule: str
    sentence: str


class CampaignState(BaseModel):
    """The contents of the file. rounds: name of a round → its steps. configs_replaced: version of
    an earlier config → time of its replacement. told: round → the decision of its gate that people
    were told of; None before a version that records it has run the campaign."""

    model_config = ConfigDict(extra="allow", frozen=True)

    rounds: Mapping[str, Steps] = {}
    promoted: PromotedPolicy | None = None
    stopped: StopReason | None = None
    configs_replaced: Mapping[str, str] = {}
    told: Mapping[str, str] | None = None

    def with_fact(self, key: str, value: object) -> "CampaignState":
        return CampaignState.model_validate({**self.model_dump(exclude_unset=True), key: value})


class Current:
    """The file of one campaign, as its only writer holds it: with the campaign's lock."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.state = read_current(layout)
        self._rounds = {round_number(n): s for n, s in self.state.rounds.items()}
        self._last: dict[int, str] = {}

    def remember(self, key: str, value: object) -> None:
        state = self.state.with_fact(key, value)
        if state != self.state:
            self.state = state
            write_current(self._layout, state)

    def point_to(self, number: int, step: str, folder: str) -> None:
        """Make `folder` the valid version of a step.

        What followed another version of it is not valid, nor are steps between the one that ran
        before and this one: they are not run any more. Steps of a round run in one order.
        """
        steps = self._rounds.get(number, {})
        before = self._before(number, step)
        if steps.get(step) == folder:
            after = _from(steps, step)
            rounds = self._rounds
        else:
            after = {step: folder}
            rounds = {n: s for n, s in self._rounds.items() if n <= number}
        self._last[number] = step
        self._keep({**rounds, number: {**before, **after}})

    def settle(self, number: int) -> None:
        """The round has come to its end: what stands after the step that ran last is not run any
        more, and not valid."""
        last = self._last.get(number)
        if last is not None:
            self._keep({**self._rounds, number: _through(self._rounds[number], last)})

    def _before(self, number: int, step: str) -> Steps:
        """The steps that stay valid before `step`: up to the one that ran last, or where none ran
        just now, those that it has always followed."""
        steps, last = self._rounds.get(number, {}), self._last.get(number)
        if last is None:
            return _until(steps, step) if step in steps else {}
        return _until(_through(steps, last), step)

    def _keep(self, rounds: Mapping[int, Steps]) -> None:
        self._rounds = dict(sorted(rounds.items()))
        self.remember("rounds", {round_name(n): dict(s) for n, s in self._rounds.items()})


def _until(steps: Steps, step: str) -> Steps:
    """Those before `step`; all where it is not among them."""
    names = list(steps)
    return {k: steps[k] for k in names[: names.index(step) if step in names else len(names)]}


def _through(steps: Steps, step: str) -> Steps:
    """`step` and those before it."""
    return {**_until(steps, step), **({step: steps[step]} if step in steps else {})}


def _from(steps: Steps, step: str) -> Steps:
    """`step` and those after it."""
    names = list(steps)
    return {k: steps[k] for k in names[names.index(step) :]}


def read_current(layout: Layout) -> CampaignState:
    """The file's contents, empty for a campaign that has not finished a step.

    Raises ArtifactCorrupted where they are not what was written.
    """
    return _read(layout.current) if layout.current.exists() else CampaignState()


def _parsed(path: Path) -> CampaignState:
    try:
        state, _ = read_sealed(path.read_bytes())
        return CampaignState.model_validate(state)
    except (BrokenSeal, ValidationError) as broken:
        raise ArtifactCorrupted(
            f"{path} is damaged: {broken}",
            f"Move it away (mv {path} {path}.broken): `ratchet run` writes it anew from the "
            "ledger, and makes nothing again.",
        ) from None


_read = cache_by_file(_parsed, files=16)


def write_current(layout: Layout, state: CampaignState) -> None:
    write_sealed(layout.current, state.model_dump(exclude_unset=True))


def valid_steps(layout: Layout, number: int) -> Steps:
    """The steps of a round that are valid now."""
    return read_current(layout).rounds.get(round_name(number), {})


def valid_rounds(layout: Layout) -> list[int]:
    """Rounds of which any step is valid, in order."""
    return sorted(map(round_number, read_current(layout).rounds))
