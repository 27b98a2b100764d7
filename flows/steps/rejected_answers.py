"""Steps `completions_other` and `completions` of a round with `pairs.rejected_from`: an earlier
policy or another model answers the same prompts, and its answers join the policy's."""

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.layout import OTHER
from dpo_core.find_model import find_model
from dpo_core.hashing import content_id
from dpo_core.schemas import COMPLETIONS, CompletionRow
from dpo_core.tables import TEXTS_AT_ONCE, iterate_as, iterate_rows, write_rows
from flows.round_state import OWN_SAMPLES, Other, Policy, RoundRecord
from flows.session import Session
from flows.steps.sample import Samples, sampling_config, write_completions
from generation.jobs import CompletionsFacts, RetokeniseJob
from labeling.pairs.config import RoundPolicy

_FILE = "completions.parquet"


def find_rejected_policy(
    session: Session, base: Policy, earlier: Sequence[RoundRecord]
) -> Other | None:
    """Whose answers are rejected by construction; None: scores decide among the policy's own."""
    source = session.config.pairs.rejected_from
    if not isinstance(source, RoundPolicy):
        return source
    if not source.round:
        return base
    candidate = earlier[source.round - 1].candidate
    assert candidate is not None, "a finished round has a candidate"
    return candidate.policy


def sample_other(
    session: Session, number: int, policy: Policy, other: Other, prompts: Artifact, ending: str
) -> Artifact:
    """As many answers of `other` to each prompt as the policy gives.

    A model's text is tokenised for `policy`, because its tokenizer and chat template may differ.
    ending: of the step's name, for one draw of several.
    """
    samples = Samples(
        session.config.sampling.samples_per_prompt, session.seed("completions_other", number)
    )
    longest = session.config.sampling.max_model_len

    def make(folder: Path, inputs: Inputs) -> StepResult:
        prompts = inputs.path("prompts")
        if isinstance(other, Policy):
            weights = inputs.path("other")
            return write_completions(session, other.id, weights, prompts, folder, samples)
        inputs.find("other")  # raises for a folder that is gone
        model = find_model(other)
        session.processes.release("sampling")
        try:
            sampled = write_completions(session, model.id, model.folder, prompts, folder, samples)
            job = RetokeniseJob(
                policy=inputs.path("policy"),
                prompts=prompts,
                completions=folder / _FILE,
                out=folder / f"retokenised-{_FILE}",
                longest=longest,
                keep_worker=session.config.sampling.keep_worker,
            )
            tokenised = session.tokenise(job)
        finally:
            session.processes.release("sampling")
        (folder / f"retokenised-{_FILE}").replace(folder / _FILE)
        dropped = Counter(sampled.dropped) + Counter(tokenised.dropped)
        return replace(sampled, kept=tokenised.kept, dropped=dict(sorted(dropped.items())))

    config, inputs = _identity(session, other, policy)
    return session.step(
        number,
        f"{OTHER}{ending}",
        make,
        config={**sampling_config(session.config.sampling, samples), **config},
        inputs={**inputs, "prompts": prompts.input("prompts.parquet")},
    )


def _identity(
    session: Session, other: Other, policy: Policy
) -> tuple[dict[str, str], dict[str, Input]]:
    """(config, inputs) that identify who answers: a folder by its contents, a hub model by name."""
    if isinstance(other, Policy):
        return {}, {"other": other.input}
    if Path(other).is_absolute():
        return {}, {"other": session.model_input(Path(other)), "policy": policy.input}
    return {"model": other}, {"policy": policy.input}


def combine_answers(
    session: Session, number: int, own: Artifact, others: Artifact, prompts: Artifact, ending: str
) -> Artifact:
    """The policy's answers to each prompt, then the other's.

    The other's get higher sample indices, so that ids stay unique, and lose their log-probs.
    """
    count = session.config.sampling.samples_per_prompt
    source = session.config.pairs.rejected_from
    name = f"round {source.round}" if isinstance(source, RoundPolicy) else source
    entries = own.entry, others.entry

    def make(folder: Path, inputs: Inputs) -> StepResult:
        place = {
            row["prompt_id"]: number
            for number, row in enumerate(iterate_rows(inputs.path("prompts"), ["prompt_id"]))
        }
        rows = heapq.merge(
            iterate_as(inputs.path("own"), CompletionRow, TEXTS_AT_ONCE),
            (
                _renumber(row, count)
                for row in iterate_as(inputs.path("others"), CompletionRow, TEXTS_AT_ONCE)
            ),
            key=lambda row: place[row["prompt_id"]],
        )
        kept = write_rows(folder / _FILE, rows, COMPLETIONS)
        dropped = sum((Counter(entry.dropped) for entry in entries), Counter[str]())
        ours, theirs = own.facts(CompletionsFacts), others.facts(CompletionsFacts)
        facts = CompletionsFacts(
            prompts=ours.prompts,
            prompt_tokens=(ours.prompt_tokens or 0) + (theirs.prompt_tokens or 0),
            tokens=ours.tokens + theirs.tokens,
            truncated=ours.truncated + theirs.truncated,
            completions=kept,
            own_samples=count,
            rejected_from=name,
        )
        came_in = sum(entry.came_in for entry in entries)
        return StepResult(came_in, kept, dict(sorted(dropped.items())), facts)

    return session.step(
        number,
        f"completions{ending}",
        make,
        config={OWN_SAMPLES: count},
        inputs={
            "own": own.input(_FILE),
            "others": others.input(_FILE),
            "prompts": prompts.input("prompts.parquet"),
        },
    )


def _renumber(row: CompletionRow, count: int) -> CompletionRow:
    index = row["sample_index"] + count
    identity = content_id(row["prompt_id"], row["policy"], index, row["token_ids"])
    return {**row, "sample_index": index, "completion_id": identity, "token_logps": None}
