"""`ratchet replay`: a round from its recorded inputs, config, seeds and threads, made once more in
a scratch folder; the campaign stays as it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

from rich.console import Console

from dpo_core.campaign.branching import copy_replies
from dpo_core.campaign.facts import is_finished
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.recomputing import Recomputation, RecomputedStep
from dpo_core.campaign.store import Store
from dpo_core.errors import BadInput
from dpo_core.text import counted, visible
from flows.campaign import find_next_start
from flows.config import CampaignConfig, config_of_round, read_stored
from flows.config.attempts import rejected_rounds
from flows.round_state import RoundContext, RoundRecord
from flows.progress import CampaignProgress
from flows.session import Session
from labeling.exchange.folder import check_free
from labeling.judges.memory import ReplyMemory


@dataclass(frozen=True)
class ReplayResult:
    """What became of a round's steps. remembered: whether language models judge, and their replies
    were kept; asked_again: replies of those that run here, and were not kept."""

    number: int
    steps: tuple[RecomputedStep, ...]
    asked_again: int
    remembered: bool = False

    @property
    def first_difference(self) -> RecomputedStep | None:
        return next((step for step in self.steps if step.found == "differs"), None)


def replay(root: Path, number: int, scratch: Path | None, console: Console) -> ReplayResult:
    """Compute round `number` of the campaign in `root` once more and compare it, step by step.

    Every step is made from the recorded outputs of the ones before it. scratch: a new folder that
    is kept; without one, a temporary folder that is removed. Raises BadInput for a round that is
    not finished, and where weights that it needs were pruned.
    """
    layout = Layout(root)
    config = read_stored(layout)
    _check_finished(layout, number)
    with _folder(scratch) as folder, CampaignProgress(console, config.rounds) as progress:
        progress.note(f"{visible(config.name)}, round {number}: computed again in {folder}")
        remembered = _prepare(layout, Layout(folder), number)
        steps: list[RecomputedStep] = []

        def tell(checked: RecomputedStep) -> None:
            steps.append(checked)
            progress.note(_line(checked))

        with Session.open(folder, config, progress) as session:
            session.judges.models = replace(session.judges.models, ask_endpoints=False)
            store = Store(root, session.store.threads)
            again = Recomputation(store, number, folder, tell)
            _walk(replace(session, store=store, steps=again), layout, number)
        asked = ReplyMemory(Layout(folder).judge_replies).count() - remembered
        replayed = ReplayResult(number, tuple(steps), asked, bool(remembered))
        for line in replay_message(replayed):
            progress.note(line)
    return replayed


def replay_message(replayed: ReplayResult) -> Iterator[str]:
    """The verdict, and what stands beside it."""
    if replayed.asked_again:
        yield (
            f"! {replayed.asked_again} replies of language models were not remembered and were "
            "asked for again of the model here"
        )
    elif replayed.remembered:
        yield "language models were not asked again: their replies are those that were kept"
    taken = [step.step for step in replayed.steps if step.found == "taken"]
    but = f", {', '.join(taken)} taken as recorded" if taken else ""
    first = replayed.first_difference
    if first is not None:
        yield (
            f"round {replayed.number} is not bit-equal: the first difference is in step "
            f"{first.step}, {first.said}"
        )
        return
    equal = [step for step in replayed.steps if step.found == "equal"]
    files = sum(step.files for step in equal)
    yield f"round {replayed.number} is bit-equal: {len(equal)} steps, {files} files{but}"


def _line(checked: RecomputedStep) -> str:
    if checked.found == "equal":
        what = counted(checked.files, "file")
        what += f", {checked.volatile} of them aside from volatile columns" * bool(checked.volatile)
    else:
        what = checked.said
    return f"{checked.step:<14} {checked.found:<8} {checked.seconds:6.1f} s  {what}"


def _check_finished(layout: Layout, number: int) -> None:
    if not is_finished(layout, number):
        raise BadInput(
            f"round {number} of {layout.root} is not finished, or is not valid now",
            f"`ratchet status {layout.root}` shows the rounds that are.",
        )


@contextmanager
def _folder(scratch: Path | None) -> Iterator[Path]:
    if scratch is None:
        with TemporaryDirectory(prefix="ratchet-replay-") as made:
            yield Path(made)
    else:
        check_free(scratch)
        scratch.mkdir(parents=True, exist_ok=True)
        yield scratch


def _prepare(layout: Layout, scratch: Layout, number: int) -> int:
    """Put what people and language models said where the round looks for it; how many replies."""
    if layout.labels(number).exists():
        scratch.labels(number).parent.mkdir(parents=True)
        copyfile(layout.labels(number), scratch.labels(number))
    copy_replies(layout, scratch)
    return ReplyMemory(scratch.judge_replies).count()


def _walk(session: Session, layout: Layout, number: int) -> None:
    """From the base to round `number`, which is the only one that is made."""
    from flows.round import run_round, prepare

    config = session.config
    held, base = prepare(session.under(config_of_round(layout, config, 0)))
    previous, earlier = base, list[RoundRecord]()
    for each in range(1, number + 1):
        do = session.under(config_of_round(layout, config, each))
        start = RoundContext(each, previous, base, held, earlier)
        if each == number:
            _check_weights(do.config, start)
        previous, played = run_round(do, start)
        earlier = [*earlier, played]
        previous = find_next_start(session, each, previous, base, earlier)


def _check_weights(config: CampaignConfig, start: RoundContext) -> None:
    """Raise BadInput where the round would find weights removed."""
    needed = [start.base.policy, start.previous.policy]
    reference = start.earlier[-1].reference if start.earlier else None
    if reference is not None and config.training.reference != "reset":
        needed.append(reference)
    answering = (
        start.earlier[number - 1].candidate for number in rejected_rounds(config) if number
    )
    needed += [answered.policy for answered in answering if answered is not None]
    for policy in needed:
        if not policy.folder.exists():
            raise BadInput(
                f"round {start.number} cannot be computed again: it needs the weights of round "
                f"{policy.round}, which were removed to save space (keep_policies)",
                "Replay a round whose weights are there. Those of rounds to come are kept with "
                "keep_policies: all.",
            )
