"""`ratchet publish`: a round's policy and its card, to a folder, an fsspec URL or the hub."""

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
from dpo_core.errors import ArtifactCorrupted, BadInput, RatchetError
from dpo_core.hashing import file_sha256
from flows.config import read_stored
from labeling.exchange.folder import new_folder
from reporting.card import PolicyFacts, model_card
from reporting.summary import read_summary

CARD = "README.md"
_POLICY = "policy/"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Publication:
    """A round's policy, checked: files by their names, and its card."""

    number: int
    campaign: str
    files: Mapping[str, Path]
    card: str


def prepare(
    root: Path, number: int | None, licence: str | None, *, even_if_refused: bool
) -> Publication:
    """The policy of round `number` (None: the promoted one) and its card.

    Raises BadInput for a round that is not finished, whose policy was refused or whose weights were
    removed; ArtifactCorrupted where they are not what the ledger recorded.
    """
    layout = Layout(root)
    config, summary = read_stored(layout), read_summary(root, samples=False)
    number = number if number is not None else _promoted(layout)
    row = summary.row(number)
    if row is None:
        raise BadInput(
            f"round {number} of {root} is not finished: its policy was not evaluated",
            "Name a finished round with --round; `ratchet status` shows them.",
        )
    if not row.get("promoted") and not even_if_refused:
        raise BadInput(
            f"the gate refused the policy of round {number}: {row.get('decision', '')}",
            "Name another round with --round, or say --even-if-refused.",
        )
    entry = _training(layout, number, str(row["policy"]))
    files = _files(layout, entry)
    steps = valid_steps(layout, number)
    made = [artifact.entry for s in steps if (artifact := current_artifact(layout, number, s))]
    facts = PolicyFacts(summary, config, row, made, licence)
    return Publication(number, summary.name, files, model_card(facts))


def publish(found: Publication, to: str, again: str, *, private: bool) -> str:
    """Copy or push it; where it is now. again: the command to type after an error.

    Raises BadInput for a place that holds something else, RatchetError where it cannot be reached.
    """
    if "://" in to:
        return _to_url(found, _checked(to), again)
    if goes_to_hub(to):
        from labeling.exchange.hub import push_model

        files: dict[str, Path | bytes] = {**found.files, CARD: found.card.encode()}
        message = f"Round {found.number} of {found.campaign}"
        return push_model(files, to, message, again, private=private)
    return _to_folder(found, Path(to).expanduser(), again)


def _checked(url: str) -> str:
    kind, _, place = url.partition("://")
    if not kind or not place.strip("/"):
        raise BadInput(f"--to {url} names no place", "For example s3://bucket/my-policy.")
    return url.rstrip("/")


def goes_to_hub(to: str) -> bool:
    """NAME/MODEL, where no folder NAME is here; a folder is written ./NAME/MODEL."""
    return bool(_REPO.fullmatch(to)) and not Path(to).exists() and not Path(to).parent.exists()


def _promoted(layout: Layout) -> int:
    promoted = read_current(layout).get("promoted", {})
    if not promoted.get("round"):
        raise BadInput(
            f"{layout.root} has promoted no policy yet: the base stands",
            "Name a round with --round, or run the campaign on.",
        )
    return int(promoted["round"])


def _training(layout: Layout, number: int, policy: str) -> Entry:
    """The step that made the round's policy: of several attempts, the one that was judged."""
    for entry in reversed(Ledger(layout.ledger).read()):
        made = entry.round == number and entry.step == "training"
        if made and entry.facts.get("policy") == policy:
            return entry
    raise ArtifactCorrupted(
        f"no step in {layout.ledger} made the policy of round {number}",
        "Restore the ledger from a backup, or run the round again.",
    )


def _files(layout: Layout, entry: Entry) -> dict[str, Path]:
    """Files of the policy, each as the ledger recorded it."""
    folder = layout.step(entry.round, entry.step, entry.fingerprint)
    if not (folder / _POLICY).exists():
        raise BadInput(
            f"the weights of round {entry.round} are gone: keep_policies removed them",
            f"Publish another round; or move the step away (mv {folder} {folder}.pruned), and "
            "`ratchet run` trains it again.",
        )
    recorded = {name: sha for name, sha in entry.outputs.items() if name.startswith(_POLICY)}
    for name, sha in recorded.items():
        if not (folder / name).exists() or file_sha256(folder / name) != sha:
            raise ArtifactCorrupted(
                f"{folder / name} is not what the ledger recorded", "Restore it from a backup."
            )
    return {name.removeprefix(_POLICY): folder / name for name in recorded}


def _to_folder(found: Publication, folder: Path, again: str) -> str:
    try:
        with new_folder(folder) as beside:
            for name, path in found.files.items():
                target = beside / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            (beside / CARD).write_text(found.card, encoding="utf-8")
    except OSError as error:
        raise RatchetError(
            f"{folder} cannot be written ({error.strerror}); nothing is there",
            f"It can be repeated: {again}",
        ) from None
    return str(folder)


def _to_url(found: Publication, url: str, again: str) -> str:
    """The card comes last: where it lies, the policy is whole."""
    import fsspec

    try:
        system, path = fsspec.url_to_fs(url)
        if system.exists(f"{path}/{CARD}"):
            if system.cat_file(f"{path}/{CARD}") == found.card.encode():
                return url
            raise BadInput(f"{url} holds another policy already", "Name a new place with --to.")
        for name, source in found.files.items():
            target = f"{path}/{name}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.put_file(str(source), target)
        system.pipe_file(f"{path}/{CARD}", found.card.encode())
    except RatchetError:
        raise
    except Exception as error:  # whatever the file system of the URL raises
        said = (str(error).splitlines() or [""])[0]
        raise RatchetError(
            f"{url} cannot be written ({type(error).__name__}: {said})",
            f"It can be repeated: {again}",
        ) from None
    return url


def repeat_command(arguments: list[str]) -> str:
    return shlex.join(["ratchet", *arguments])
