"""`ratchet branch`: a campaign that shares another's rounds and continues under a new config."""

import shlex
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path

from dpo_core.atomic import write_text
from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.branching import (
    InheritedAccount,
    Link,
    Origin,
    read_origin,
    share,
    stretches,
    write_origin,
)
from dpo_core.campaign.current import valid_rounds
from dpo_core.campaign.facts import find_incumbent, is_finished, policy_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger, current_user, now
from dpo_core.campaign.remote import read_place
from dpo_core.campaign.step_facts import HeldOutFacts
from dpo_core.errors import BadInput, ConfigError
from dpo_core.gate.account import inheritable_account
from flows.config import CampaignConfig, dump_config, override_config, read_stored
from flows.config.attempts import check_rejected_rounds, rejected_rounds
from flows.config.reading import read_stored_text, validate_recorded
from flows.config.shared import pin_evaluation_judge, shared_config
from flows.config.versions import describe_changes
from labeling.exchange.folder import check_free, new_folder


def branch_campaign(
    root: Path,
    number: int,
    overrides: Sequence[str],
    folder: Path | None,
    name: str | None,
    link: Link,
) -> tuple[Layout, Origin]:
    """Branch from the campaign in `root` after round `number`.

    folder: by default beside the campaign, under the branch's name. name: by default
    NAME-from-NUMBER. Raises BadInput, and then writes nothing.
    """
    parent = Layout(root)
    before = read_stored(parent)
    _check_finished(parent, number)
    earlier = stretches(read_origin(parent), before.model_dump(mode="json"), number)
    _, raw = read_stored_text(parent)
    raw.values["name"] = name or f"{before.name}-from-{number}"
    raw.values.pop("storage", None)  # a bucket is of one campaign
    config = pin_evaluation_judge(
        before, override_config(raw, overrides, f"{parent.config} with its changes")
    )
    if config.storage.url is not None and config.storage.url == before.storage.url:
        raise ConfigError(
            f"storage.url {config.storage.url} is that of {before.name}",
            "Name another folder of the bucket: --set storage.url=URL",
        )
    check_rejected_rounds(config, number + 1)
    _check_shared(validate_recorded(earlier[-1].config, str(parent.branch)), config)
    target = Layout(folder or root.absolute().parent / config.name)
    check_free(target.root)
    _check_weights(parent, number, rejected_rounds(config))
    old, new = (c.model_dump(mode="json", exclude={"name", "storage"}) for c in (before, config))
    origin = Origin(
        campaign=str(parent.root.absolute()),
        name=before.name,
        round=number,
        changes=tuple(describe_changes(old, new)),
        by=current_user(),
        at=now(),
        stretches=tuple(earlier),
        certified=_find_spent(parent, config),
        storage=place.url if (place := read_place(parent)) is not None else "",
    )
    with new_folder(target.root) as unfinished:
        branch = Layout(unfinished)
        origin = replace(origin, entries=share(parent, branch, number, link))
        write_text(branch.config, dump_config(config))
        write_origin(branch, origin)
    return target, origin


def branch_message(root: Path, target: Layout, origin: Origin, rounds: int) -> Iterator[str]:
    """What the branch shares and changes, and what to type next."""
    number = origin.round
    shared = f"rounds 1 to {number} and the base" if number > 1 else "round 1 and the base"
    yield f"{target.root} shares {shared if number else 'the base'} with {root}"
    yield "changed: " + ("; ".join(origin.changes) or "nothing")
    command = ["ratchet", "run", str(target.config), "--campaign-dir", str(target.root)]
    if rounds <= number:
        command += ["--set", f"rounds={number + 1}"]
        yield f"Its config ends with round {rounds}, so raise `rounds` when you run it."
    yield f"Next: {shlex.join(command)}"


def _check_finished(parent: Layout, number: int) -> None:
    if not is_finished(parent, number):
        finished = [each for each in valid_rounds(parent) if each and is_finished(parent, each)]
        last = f"the last finished round is {max(finished)}" if finished else "no round is finished"
        raise BadInput(
            f"round {number} of {parent.root} is not finished: {last}",
            "Name a finished round with --from-round, or 0 for the base policy alone.",
        )


def _check_shared(before: CampaignConfig, config: CampaignConfig) -> None:
    """Raise ConfigError for a change of what decides the shared base and held-out answers."""
    old, new = shared_config(before), shared_config(config)
    changed = describe_changes(old, new)
    if changed:
        raise ConfigError(
            f"a branch shares the base and its held-out answers, so it cannot change: "
            f"{'; '.join(changed)}",
            "Start a new campaign instead: ratchet run CONFIG --campaign-dir DIR",
        )


def _check_weights(parent: Layout, number: int, answering: Set[int]) -> None:
    """Raise BadInput if a policy that the next round needs was pruned.

    answering: rounds whose policies give rejected answers.
    """
    for each in sorted({0, find_incumbent(parent, number), *answering}):
        policy = policy_artifact(parent, each)
        if policy is not None and not policy.path("policy").exists():
            raise BadInput(
                f"the weights of round {each}, which round {number + 1} needs, were removed to "
                "save space (keep_policies)",
                "Branch from another round. keep_policies: all keeps the weights of future rounds.",
            )


def _find_spent(parent: Layout, config: CampaignConfig) -> InheritedAccount | None:
    """What a certified gate may not use again: who branches may have seen all rounds."""
    held_out, origin = current_artifact(parent, 0, "held_out"), read_origin(parent)
    assert held_out is not None, "a campaign with a finished round has a base"
    inherited = origin.certified if origin is not None else None
    left_after = origin.round if origin is not None else 0
    entries = Ledger(parent.ledger).read()
    account = inheritable_account(entries, held_out.facts(HeldOutFacts).gate, inherited, left_after)
    if config.gate.false_promotions is None and not account.decisions:
        return None
    return account
