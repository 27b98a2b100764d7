"""Step `audit`: what is wrong with a round's preferences.

The step always finishes, so that its findings are kept and shown. `check_audit` then stops a round
that must not be trained on.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.errors import AuditFailed
from dpo_core.records import LabelRow, Prompt, person
from dpo_core.special_tokens import SpecialTokens, read_special_tokens
from dpo_core.tables import R, iterate_as, iterate_rows, read_rows
from flows.read_records import find_retracted, read_prompts
from flows.round_state import Policy, RoundPreferences, RoundRecord, TrainingData
from flows.session import Session
from flows.steps.suites import suite_files, suite_prompts
from labeling.audit.checks import CHECKS, audit
from labeling.audit.config import FindingName
from labeling.audit.findings import AuditFinding
from labeling.audit.material import (
    AuditedAnswer,
    Material,
    OrdersRow,
    Preference,
    SourceVotes,
    StepLosses,
    count_votes,
)
from labeling.audit.token_faults import token_faults
from labeling.step_facts import AuditFacts

FINDINGS = "audit.json"
RULES = 2
"""Version of the rules. 1 counted the BOS at the start of each chat turn as one too many."""


@dataclass(frozen=True)
class AuditInputs:
    """The round's own preferences with the steps behind them, and its training data."""

    held_out: Artifact
    own: RoundPreferences
    data: TrainingData
    prompts: Sequence[Artifact]

    @property
    def prompts_by_name(self) -> dict[str, Artifact]:
        return {f"round_{step.entry.round}/prompts": step for step in self.prompts}

    def inputs(self) -> dict[str, Input]:
        """All files that are audited."""
        named: dict[str, Artifact | None] = {
            "held_out/prompts": self.held_out,
            "preferences": self.data.preferences,
            "completions": self.data.completions,
            "pairs": self.own.pairs,
            "judgements": self.own.judgements,
            "labels": self.own.labels,
            **self.prompts_by_name,
        }
        return {
            name: step.input(f"{name.split('/')[-1]}.parquet")
            for name, step in named.items()
            if step is not None
        }


def audit_preferences(
    session: Session,
    number: int,
    base: Policy,
    held_out: Artifact,
    own: RoundPreferences,
    data: TrainingData,
    earlier: Sequence[RoundRecord],
) -> Artifact:
    """Audit the round's training data; the findings are facts of the step and in audit.json."""
    config, truncated = session.config.audit, session.config.pairs.truncated
    retracted = find_retracted(session.store.retractions(number), own.judgements, own.labels)
    audited = AuditInputs(held_out, own, data, list(_find_prompts(own, data, earlier)))
    selection = _find_losses(own.pairs)
    # What an import left out was not judged here.
    aggregation = _find_losses(own.preferences if own.judgements is not None else None)
    suites = suite_files(session)

    def make(folder: Path, inputs: Inputs) -> StepResult:
        # All policies have the base's tokenizer, and the base is never removed.
        special = read_special_tokens(inputs.path("base"))
        held_out_prompts = read_prompts(inputs.path("held_out/prompts"))
        for name in suites:
            inputs.path(name)  # raises for a file that is gone
        material = Material(
            preferences=list(_read_preferences(inputs, list(audited.prompts_by_name), special)),
            held_out=[*held_out_prompts.values(), *suite_prompts(session).values()],
            judged=_read_votes(inputs, retracted),
            selection=selection,
            aggregation=aggregation,
            truncated=truncated,
        )
        facts = AuditFacts(findings=dict(audit(material, config)), rules=RULES)
        write_json(folder / FINDINGS, facts.as_json())
        count = len(material.preferences)
        return StepResult(count, count, facts=facts)

    depends_on = {
        **config.model_dump(mode="json"),
        "truncated": truncated,
        "selection": asdict(selection),
        "aggregation": asdict(aggregation),
        **({"retracted": retracted} if retracted else {}),
    }
    inputs = {"base": base.input, **audited.inputs(), **suites}
    done = session.step(number, "audit", make, config=depends_on, inputs=inputs)
    if not _stopped_by_older_rules(done):
        return done
    return session.step(number, "audit", make, config={**depends_on, "rules": RULES}, inputs=inputs)


def _stopped_by_older_rules(audited: Artifact) -> bool:
    """Whether older rules blocked the round where these may not: it is then audited again."""
    facts = audited.facts(AuditFacts)
    changed = (finding for name, finding in facts.findings.items() if name.startswith("bos_"))
    return facts.rules < RULES and any(finding.blocks for finding in changed)


def check_audit(audited: Artifact) -> None:
    """Raise AuditFailed if a finding blocks training."""
    findings = audited.facts(AuditFacts).findings
    blocking = [name for name in CHECKS if findings[name].blocks]
    if not blocking:
        return
    sentences = "".join(_format_finding(name, findings[name]) for name in blocking)
    raise AuditFailed(
        f"round {audited.entry.round}: the audit blocks training on its preferences{sentences}",
        f"All findings: {audited.path(FINDINGS)}. Fix the cause and type the same `ratchet run` "
        "again: it resumes from what changed. To train all the same: --set 'audit.allow="
        f"[{', '.join(blocking)}]'.",
    )


def _format_finding(name: FindingName, finding: AuditFinding) -> str:
    counted = f"{finding.count} of {finding.of} {finding.unit}; {finding.because}"
    examples = "".join(f"\n      {example}" for example in finding.examples)
    return f"\n  {name}: {counted}{examples}\n    {CHECKS[name].remedy}"


def _find_prompts(
    own: RoundPreferences, data: TrainingData, earlier: Sequence[RoundRecord]
) -> Iterator[Artifact]:
    """The steps with the prompts of the training data; an import holds its own."""
    yield own.training_prompts
    for record in earlier if data.joined is not None else ():
        prompts = record.steps["prompts"] or record.steps["completions"]
        assert prompts is not None, "every round has prompts"
        yield prompts


def _find_losses(step: Artifact | None) -> StepLosses:
    return StepLosses(step.entry.came_in, dict(step.entry.dropped)) if step else StepLosses()


def _read_preferences(
    inputs: Inputs, prompt_files: Sequence[str], special: SpecialTokens
) -> Iterator[Preference]:
    prompts: dict[str, Prompt] = {}
    for name in prompt_files:
        prompts |= read_prompts(inputs.path(name))
    rows = read_rows(inputs.path("preferences"))
    needed = {row[side] for row in rows for side in ("chosen", "rejected")}
    answers = _read_answers(inputs.path("completions"), needed, prompts, special)
    pairs = inputs.find("pairs")
    sides = iterate_rows(pairs, ["pair_id", "a"]) if pairs is not None else ()
    first = {row["pair_id"]: row["a"] for row in sides}
    for row in rows:
        a = first.get(row["pair_id"])
        yield Preference(
            pair_id=row["pair_id"],
            prompt=prompts[row["prompt_id"]],
            chosen=answers[row["chosen"]],
            rejected=answers[row["rejected"]],
            p_chosen=row["p_chosen"],
            side=None if a is None else "a" if row["chosen"] == a else "b",
        )


def _read_rows(inputs: Inputs, name: str, kind: type[R]) -> Iterator[R]:
    """The rows of a step's file; none for a step that the round did not have."""
    path = inputs.find(name)
    return iterate_as(path, kind) if path is not None else iter(())


def _read_answers(
    completions: Path, needed: Set[str], prompts: Mapping[str, Prompt], special: SpecialTokens
) -> dict[str, AuditedAnswer]:
    columns = ["completion_id", "prompt_id", "text", "prompt_token_ids", "token_ids"]
    answers = {}
    for row in iterate_rows(completions, [*columns, "finish_reason"]):
        if row["completion_id"] in needed:
            finished = row["finish_reason"] == "stop"
            ids = (row["prompt_token_ids"], row["token_ids"])
            faults = token_faults(prompts[row["prompt_id"]], *ids, finished, special)
            answers[row["completion_id"]] = AuditedAnswer(
                row["text"], len(ids[1]), finished, faults
            )
    return answers


def _read_votes(inputs: Inputs, retracted: Sequence[str]) -> SourceVotes:
    asked = (row for row in _read_rows(inputs, "labels", LabelRow) if row["kind"] != "gold")
    judgements = _read_rows(inputs, "judgements", OrdersRow)
    return count_votes(
        (row for row in judgements if row["source"] not in retracted),
        (row for row in asked if person(row["annotator"]) not in retracted),
    )
