"""`ratchet replay`: recompute a round from its recorded inputs, config, seeds and threads in a
scratch folder, without touching the campaign."""

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
from flows.config import CampaignConfig, read_stored
from flows.config.attempts import rejected_rounds
from flows.round_state import RoundContext, RoundRecord
from flows.session import Session
from labeling.exchange.folder import check_free
from labeling.judges.memory import ReplyMemory
from reporting.progress import CampaignProgress


@dataclass(frozen=True)
class ReplayResult:
    """The outcome of each step. remembered: whether kept replies of language models were used.
    asked_again: replies that were not kept and were asked of a local model again."""

    number: int
    steps: tuple[RecomputedStep, ...]
    asked_again: int
    remembered: bool = False

    @property
    def first_difference(self) -> RecomputedStep | None:
        return next((step for step in self.steps if step.found == "differs"), None)


def replay(root: Path, number: int, scratch: Path | None, console: Console) -> ReplayResult:
    """Recompute round `number` of the campaign in `root` and compare it step by step.

    Every step starts from the recorded outputs of the ones before it. scratch: a new folder to keep
    the results in, by default a temporary one. Raises BadInput for a round that is not finished or
    whose weights were pruned.
    """
    layout = Layout(root)
    config = read_stored(layout)
    _check_finished(layout, number)
    with _folder(scratch) as folder, CampaignProgress(console, config.rounds) as progress:
        progress.note(f"{visible(config.name)}, round {number}: recomputed in {folder}")
        remembered = _prepare(layout, Layout(folder), number)
        steps: list[RecomputedStep] = []

        def report(step: RecomputedStep) -> None:
            steps.append(step)
            progress.note(_format_step(step))

        with Session.open(folder, config, progress) as session:
            session.judges.models = replace(session.judges.models, ask_endpoints=False)
            store = Store(root, session.store.threads)
            again = Recomputation(store, number, folder, report)
            _run_up_to(replace(session, store=store, steps=again), number)
        asked = ReplyMemory(Layout(folder).judge_replies).count() - remembered
        replayed = ReplayResult(number, tuple(steps), asked, bool(remembered))
        for line in replay_message(replayed):
            progress.note(line)
    return replayed


def replay_message(replayed: ReplayResult) -> Iterator[str]:
    """The verdict and its caveats."""
    if replayed.asked_again:
        yield (
            f"! {replayed.asked_again} replies of language models were not kept, so the local "
            "model was asked again"
        )
    elif replayed.remembered:
        yield "language models were not asked again: their replies were kept"
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


def _format_step(step: RecomputedStep) -> str:
    what = step.said
    if step.found == "equal":
        what = counted(step.files, "file")
        what += f", {step.volatile} of them except volatile columns" * bool(step.volatile)
    return f"{step.step:<14} {step.found:<8} {step.seconds:6.1f} s  {what}"


def _check_finished(layout: Layout, number: int) -> None:
    if not is_finished(layout, number):
        raise BadInput(
            f"round {number} of {layout.root} is not finished, or is no longer valid",
            f"`ratchet status {layout.root}` shows the finished rounds.",
        )


@contextmanager
def _folder(scratch: Path | None) -> Iterator[Path]:
    if scratch is None:
        with TemporaryDirectory(prefix="ratchet-replay-") as folder:
            yield Path(folder)
    else:
        check_free(scratch)
        scratch.mkdir(parents=True, exist_ok=True)
        yield scratch


def _prepare(layout: Layout, scratch: Layout, number: int) -> int:
    """Copy labels and language models' replies to the scratch folder; returns the reply count."""
    if layout.labels(number).exists():
        scratch.labels(number).parent.mkdir(parents=True)
        copyfile(layout.labels(number), scratch.labels(number))
    copy_replies(layout, scratch)
    return ReplyMemory(scratch.judge_replies).count()


def _run_up_to(session: Session, number: int) -> None:
    """Run from the base to round `number`, the only one that is recomputed."""
    from flows.round import prepare, run_round

    held_out, base = prepare(session.at_round(0))
    previous, earlier = base, list[RoundRecord]()
    for each in range(1, number + 1):
        view, context = (
            session.at_round(each),
            RoundContext(each, previous, base, held_out, earlier),
        )
        if each == number:
            _check_weights(view.config, context)
        previous, record = run_round(view, context)
        earlier = [*earlier, record]
        previous = find_next_start(session, each, previous, base, earlier)


def _check_weights(config: CampaignConfig, context: RoundContext) -> None:
    """Raise BadInput if the round needs weights that were pruned."""
    needed = [context.base.policy, context.previous.policy]
    reference = context.earlier[-1].reference if context.earlier else None
    if reference is not None and config.training.reference != "reset":
        needed.append(reference)
    answering = (context.earlier[n - 1].candidate for n in rejected_rounds(config) if n)
    needed += [evaluated.policy for evaluated in answering if evaluated is not None]
    for policy in needed:
        if not policy.folder.exists():
            raise BadInput(
                f"round {context.number} cannot be replayed: it needs the weights of round "
                f"{policy.round}, which were removed to save space (keep_policies)",
                "Replay another round. keep_policies: all keeps the weights of future rounds.",
            )
