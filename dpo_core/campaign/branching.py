"""A campaign that begins as another one: where it left it, and what both share on disk.

A finished step is never written again, so a branch takes its files as hard links: no byte is there
twice, and either campaign may prune its own or be removed without the other noticing. What grows
while a campaign runs (the ledger, people's answers, remembered replies) is the branch's own copy.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from dpo_core.atomic import write_json
from dpo_core.campaign.current import CampaignState, read_current, write_current
from dpo_core.campaign.layout import Layout, round_number
from dpo_core.campaign.ledger import Entry, Ledger
from dpo_core.campaign.prunes import pruned
from dpo_core.campaign.remote import bring
from dpo_core.errors import BadInput

Link = Callable[[Path, Path], object]
"""Puts the file of the first path at the second one as well."""


@dataclass(frozen=True)
class Stretch:
    """Rounds up to `through`, and the config under which they ran."""

    through: int
    config: Mapping[str, object]


@dataclass(frozen=True)
class InheritedAccount:
    """What a certified gate had used of a branch's parent, all of whose decisions its author may
    have seen.

    decisions: tests made. planned: tests planned. used: gate prompts used, from the beginning of
    the pool.
    """

    decisions: int = 0
    planned: int | None = None
    used: int = 0


@dataclass(frozen=True)
class Origin:
    """Where a branch comes from. changes: the config's differences, in words. by, at: who made it,
    when. stretches: the configs of the rounds that came along, the first ones first. certified:
    what a certified gate had used of the campaign when it was left. entries: how many lines of the
    ledger came along; None for branches of earlier versions. storage: the campaign's storage.url,
    if it had one, where what came along is as well."""

    campaign: str
    name: str
    round: int
    changes: tuple[str, ...]
    by: str
    at: str
    stretches: tuple[Stretch, ...]
    certified: InheritedAccount | None = None
    entries: int | None = None
    storage: str = ""

    def config_of(self, number: int) -> Mapping[str, object] | None:
        """What round `number` ran under before the branch; None for a round of its own."""
        return next((s.config for s in self.stretches if number <= s.through), None)


_ORIGIN = TypeAdapter(Origin)


def read_origin(layout: Layout) -> Origin | None:
    """None for a campaign that is no branch."""
    if not layout.branch.exists():
        return None
    return _ORIGIN.validate_python(json.loads(layout.branch.read_text(encoding="utf-8")))


def write_origin(layout: Layout, origin: Origin) -> None:
    write_json(layout.branch, asdict(origin))


def own_entries(layout: Layout, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Those of `entries`, which are all of the campaign's, that it wrote itself: in a branch, all
    that came after it left its campaign."""
    origin = read_origin(layout)
    if origin is None:
        return entries
    if origin.entries is not None:
        return entries[origin.entries :]
    return [entry for entry in entries if entry.at > origin.at]


def stretches(
    before: Origin | None, config: Mapping[str, object], number: int
) -> Sequence[Stretch]:
    """The configs of rounds up to `number` of a campaign that ran under `config`, and is itself a
    branch where `before` is given."""
    earlier = [s for s in before.stretches if s.through < number] if before is not None else []
    last = before.config_of(number) if before is not None else None
    return (*earlier, Stretch(number, last if last is not None else config))


def share(parent: Layout, branch: Layout, number: int, link: Link = os.link) -> int:
    """Give the folder `branch` all that `parent` has of rounds up to `number`; how many lines of
    the ledger that is.

    Raises BadInput where the file system has no hard links between the two.
    """
    entries = [entry for entry in Ledger(parent.ledger).read() if entry.round <= number]
    pruned_folders = pruned(entries)
    ledger = Ledger(branch.ledger)
    for entry in entries:
        _share_step(parent, branch, entry, pruned_folders.get(entry.fingerprint, ()), link)
    ledger.extend(entries)
    rounds = read_current(parent).rounds
    valid = {key: steps for key, steps in rounds.items() if round_number(key) <= number}
    write_current(branch, CampaignState(rounds=valid))
    _copy_what_grows(parent, branch, number)
    return len(entries)


def _share_step(
    parent: Layout, branch: Layout, entry: Entry, pruned_folders: tuple[str, ...], link: Link
) -> None:
    folder = parent.step(entry.round, entry.step, entry.fingerprint)
    if not folder.is_dir():  # an entry about the campaign, or a step that somebody moved away
        return
    target = branch.step(entry.round, entry.step, entry.fingerprint)
    for name in entry.outputs:
        if not name.startswith(pruned_folders):
            bring(folder / name)
    for path in _files(folder):
        new = target / path.relative_to(folder)
        new.parent.mkdir(parents=True, exist_ok=True)
        _link(link, path, new)
    missing = [
        name
        for name in entry.outputs
        if not name.startswith(pruned_folders) and not (target / name).exists()
    ]
    if missing:
        raise BadInput(
            f"{folder / missing[0]} is gone, but nothing says that it was removed",
            "If the campaign removed it just now, type the same command again; else restore it.",
        )


def _link(link: Link, path: Path, new: Path) -> None:
    try:
        link(path, new)
    except FileExistsError:  # two entries of one step
        return
    except FileNotFoundError:  # removed meanwhile: the outputs are counted afterwards
        return
    except OSError as error:
        raise BadInput(
            f"{new.parent} cannot share the files of {path.parent}: {error.strerror}",
            "Name a folder on the same file system with --campaign-dir, one that knows hard links; "
            "or give --copy, which takes as much room again.",
        ) from None


def _copy_what_grows(parent: Layout, branch: Layout, number: int) -> None:
    for each in range(1, number + 1):
        _copy(parent.labels(each), branch.labels(each))
        if parent.round_events(each).is_dir():
            shutil.copytree(parent.round_events(each), branch.round_events(each))
    copy_replies(parent, branch)


def copy_replies(parent: Layout, branch: Layout) -> bool:
    """Whether there were replies of language models to remember; what was paid for is kept."""
    if not parent.judge_replies.exists():
        return False
    branch.judge_replies.parent.mkdir(parents=True, exist_ok=True)
    # Not a copy of the file: the parent may be writing to it.
    with (
        closing(sqlite3.connect(parent.judge_replies)) as old,
        closing(sqlite3.connect(branch.judge_replies)) as new,
    ):
        old.backup(new)
    return True


def _copy(path: Path, new: Path) -> None:
    if path.exists():
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, new)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
