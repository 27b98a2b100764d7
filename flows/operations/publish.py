"""`ratchet publish`: publish a policy and its model card to a folder, an fsspec URL or the hub."""

import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.current import read_current, valid_steps
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, Ledger
from dpo_core.campaign.remote import bring, read_place
from dpo_core.errors import ArtifactCorrupted, BadInput, RatchetError
from dpo_core.hashing import file_sha256
from dpo_core.training.results import TrainingFacts
from flows.config import read_stored
from labeling.exchange.folder import new_folder
from reporting.card import PolicyFacts, model_card
from reporting.summary import read_summary

CARD = "README.md"
_POLICY = "policy/"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Publication:
    """A round's policy, checked: its files by name, and its model card."""

    number: int
    campaign: str
    files: Mapping[str, Path]
    card: str


def prepare(
    root: Path, number: int | None, licence: str | None, *, even_if_refused: bool
) -> Publication:
    """The policy of round `number` (None: the promoted one) and its model card.

    Raises BadInput for a round that is not finished, that the gate rejected or whose weights were
    removed; ArtifactCorrupted for weights that differ from the ledger.
    """
    layout = Layout(root)
    config, summary = read_stored(layout), read_summary(root, samples=False)
    number = number if number is not None else _find_promoted(layout)
    row = summary.row(number)
    if row is None:
        raise BadInput(
            f"round {number} of {root} is not finished: its policy was not evaluated",
            "Name a finished round with --round; `ratchet status` shows them.",
        )
    if not row.promoted and not even_if_refused:
        raise BadInput(
            f"the gate rejected the policy of round {number}: {row.decision}",
            "Name another round with --round, or add --even-if-refused.",
        )
    place = read_place(layout)
    if place is not None and place.lag(len(Ledger(layout.ledger).read())):
        raise BadInput(
            f"the last steps of {root} are not in {place.url} yet",
            "Wait until the run has uploaded them, or type its `ratchet run` again.",
        )
    files = _check_files(layout, _find_training(layout, number, str(row.policy)))
    steps = valid_steps(layout, number)
    entries = [artifact.entry for s in steps if (artifact := current_artifact(layout, number, s))]
    facts = PolicyFacts(summary, config, row, entries, licence)
    return Publication(number, summary.name, files, model_card(facts))


def publish(publication: Publication, to: str, repeat: str, *, private: bool) -> str:
    """Copy or push the policy; returns where it is. repeat: the command to type after an error.

    Raises BadInput for a target that holds something else, RatchetError if it cannot be reached.
    """
    if "://" in to:
        return _copy_to_url(publication, _check_url(to), repeat)
    if goes_to_hub(to):
        from labeling.exchange.hub import push_model

        files: dict[str, Path | bytes] = {**publication.files, CARD: publication.card.encode()}
        message = f"Round {publication.number} of {publication.campaign}"
        return push_model(files, to, message, repeat, private=private)
    return _copy_to_folder(publication, Path(to).expanduser(), repeat)


def _check_url(url: str) -> str:
    scheme, _, path = url.partition("://")
    if not scheme or not path.strip("/"):
        raise BadInput(f"--to {url} has no path", "For example s3://bucket/my-policy.")
    return url.rstrip("/")


def goes_to_hub(to: str) -> bool:
    """Whether `to` is NAME/MODEL and no folder NAME exists; a folder is written ./NAME/MODEL."""
    return bool(_REPO.fullmatch(to)) and not Path(to).exists() and not Path(to).parent.exists()


def _find_promoted(layout: Layout) -> int:
    promoted = read_current(layout).promoted
    if promoted is None or not promoted.round:
        raise BadInput(
            f"{layout.root} has promoted no policy yet",
            "Name a round with --round, or run more rounds.",
        )
    return promoted.round


def _find_training(layout: Layout, number: int, policy: str) -> Entry:
    """The training that made the round's policy, of several attempts the last."""
    for entry in reversed(Ledger(layout.ledger).read()):
        is_training = entry.round == number and entry.step == "training"
        if is_training and TrainingFacts.read(entry.facts).policy == policy:
            return entry
    raise ArtifactCorrupted(
        f"no step in {layout.ledger} made the policy of round {number}",
        "Restore the ledger from a backup, or run the round again.",
    )


def _check_files(layout: Layout, entry: Entry) -> dict[str, Path]:
    """The policy's files, checked against the ledger."""
    folder = layout.step(entry.round, entry.step, entry.fingerprint)
    if not (folder / _POLICY).exists():
        raise BadInput(
            f"the weights of round {entry.round} are gone: keep_policies removed them",
            f"Publish another round, or move the step away (mv {folder} {folder}.pruned): `ratchet "
            "run` then trains it again.",
        )
    recorded = {name: sha for name, sha in entry.outputs.items() if name.startswith(_POLICY)}
    bring(folder / _POLICY)
    for name, sha in recorded.items():
        if not (folder / name).exists() or file_sha256(folder / name) != sha:
            raise ArtifactCorrupted(
                f"{folder / name} is not what the ledger recorded", "Restore it from a backup."
            )
    return {name.removeprefix(_POLICY): folder / name for name in recorded}


def _copy_to_folder(publication: Publication, folder: Path, repeat: str) -> str:
    try:
        with new_folder(folder) as unfinished:
            for name, path in publication.files.items():
                target = unfinished / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            (unfinished / CARD).write_text(publication.card, encoding="utf-8")
    except OSError as error:
        raise RatchetError(
            f"{folder} cannot be written ({error.strerror}); nothing is there",
            f"Try again: {repeat}",
        ) from None
    return str(folder)


def _copy_to_url(publication: Publication, url: str, repeat: str) -> str:
    """The card is written last, so that where it is, the policy is complete."""
    import fsspec

    try:
        system, path = fsspec.url_to_fs(url)
        if system.exists(f"{path}/{CARD}"):
            if system.cat_file(f"{path}/{CARD}") == publication.card.encode():
                return url
            raise BadInput(f"{url} already holds another policy", "Name a new target with --to.")
        for name, source in publication.files.items():
            target = f"{path}/{name}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.put_file(str(source), target)
        system.pipe_file(f"{path}/{CARD}", publication.card.encode())
    except RatchetError:
        raise
    except Exception as error:  # each fsspec file system raises its own
        first = (str(error).splitlines() or [""])[0]
        raise RatchetError(
            f"{url} cannot be written ({type(error).__name__}: {first})", f"Try again: {repeat}"
        ) from None
    return url


def repeat_command(arguments: list[str]) -> str:
    return shlex.join(["ratchet", *arguments])
