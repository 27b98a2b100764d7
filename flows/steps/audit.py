"""Step `audit`: what is wrong with a round's preferences. It finishes whatever it finds, so that
its findings are kept and shown; `check_audit` then stops a round that must not be trained on."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.errors import AuditFailed
from dpo_core.records import Prompt, person
from dpo_core.special_tokens import SpecialTokens, read_special_tokens
from dpo_core.tables import iterate_rows, read_rows
from flows.round_state import Policy, RoundPreferences, RoundRecord
from flows.read_records import find_retracted, read_prompts
from flows.session import Session
from flows.steps.training_data import TrainingData
from flows.steps.suites import suite_files, suite_prompts
from labeling.audit.checks import CHECKS, audit
from labeling.audit.findings import AuditFinding
from labeling.audit.judged import judged
from labeling.audit.material import AuditedAnswer, Material, Preference, SourceVotes, StepLosses
from labeling.audit.token_faults import token_faults

FINDINGS = "audit.json"
RULES = 2
"""1 took the BOS that begins each turn of a chat for one too many."""


@dataclass(frozen=True)
class AuditInputs:
    """The round's own preferences with how they came about, and what is trained on."""

    held_out: Artifact
    own: RoundPreferences
    data: TrainingData
    prompts: Sequence[Artifact]

    @property
    def prompts_by_name(self) -> dict[str, Artifact]:
        return {f"round_{made.entry.round}/prompts": made for made in self.prompts}

    def inputs(self) -> dict[str, Input]:
        """All that is looked at."""
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
            name: made.input(f"{name.split('/')[-1]}.parquet")
            for name, made in named.items()
            if made is not None
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
    """The findings of the round, in its ledger entry and in audit.json."""
    config, truncated = session.config.audit, session.config.pairs.truncated
    retracted = find_retracted(session.store.retractions(number), own.judgements, own.labels)
    audited = AuditInputs(held_out, own, data, list(_prompts(own, data, earlier)))
    selection = _dropped(own.pairs)
    # What an import leaves out was never judged here.
    aggregation = _dropped(own.preferences if own.judgements is not None else None)

    suites = suite_files(session)

    def make(folder: Path, inputs: Inputs) -> StepResult:
        # Every round's policy has the base's tokenizer, and the base is never removed.
        special = read_special_tokens(inputs.path("base"))
        asked = read_prompts(inputs.path("held_out/prompts"))
        for name in suites:
            inputs.path(name)  # raises for a file that is gone
        material = Material(
            preferences=list(_preferences(inputs, list(audited.prompts_by_name), special)),
            held_out=[*asked.values(), *suite_prompts(session).values()],
            judged=_judged(inputs, retracted),
            selection=selection,
            aggregation=aggregation,
            truncated=truncated,
        )
        found = audit(material, config)
        findings = {name: finding_as_fact(finding) for name, finding in found.items()}
        facts = {"findings": findings, "rules": RULES}
        write_json(folder / FINDINGS, facts)
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
    """Whether it found what these rules may not: then the round is audited once more by them.
    Rounds that were let through are left as they are."""
    facts = audited.entry.facts
    changed = (name for name in facts["findings"] if name.startswith("bos_"))
    return facts.get("rules", 1) < RULES and any(facts["findings"][n]["blocks"] for n in changed)


def finding_as_fact(finding: AuditFinding) -> dict[str, Any]:
    """A finding as the ledger holds it."""
    return {
        "count": finding.count,
        "of": finding.of,
        "unit": finding.unit,
        "share": round(finding.share, 6),
        "blocks": finding.blocks,
        "because": finding.because,
        "examples": list(finding.examples),
    }


def check_audit(audited: Artifact) -> None:
    """Raise AuditFailed for a round whose findings say that it must not be trained on."""
    facts = audited.entry.facts["findings"]
    blocking = [name for name in CHECKS if facts[name]["blocks"]]
    if not blocking:
        return
    said = "".join(_said(name, facts[name], CHECKS[name].remedy) for name in blocking)
    raise AuditFailed(
        f"round {audited.entry.round}: the audit of its preferences found what must not be "
        f"trained on{said}",
        f"All findings: {audited.path(FINDINGS)}. Then type the same `ratchet run` again: it goes "
        f"on from what changed. To train on them all the same: --set 'audit.allow="
        f"[{', '.join(blocking)}]'.",
    )


def _said(name: str, fact: Mapping[str, Any], remedy: str) -> str:
    counted = f"{fact['count']} of {fact['of']} {fact['unit']}; {fact['because']}"
    examples = "".join(f"\n      {example}" for example in fact["examples"])
    return f"\n  {name}: {counted}{examples}\n    {remedy}"


def _prompts(
    own: RoundPreferences, data: TrainingData, earlier: Sequence[RoundRecord]
) -> Iterator[Artifact]:
    """The steps with the prompts of what is trained on; an import holds its own."""
    yield own.prompts or own.completions
    for played in earlier if data.made is not None else ():
        found = played.made["prompts"] or played.made["completions"]
        assert found is not None, "every round has prompts"
        yield found


def _dropped(made: Artifact | None) -> StepLosses:
    return (
        StepLosses(made.entry.came_in, dict(made.entry.dropped))
        if made is not None
        else StepLosses()
    )


def _preferences(
    inputs: Inputs, prompt_files: Sequence[str], special: SpecialTokens
) -> Iterator[Preference]:
    read = (read_prompts(inputs.path(name)) for name in prompt_files)
    prompts = {prompt_id: prompt for found in read for prompt_id, prompt in found.items()}
    rows = read_rows(inputs.path("preferences"))
    needed = {row[side] for row in rows for side in ("chosen", "rejected")}
    answers = _answers(inputs.path("completions"), needed, prompts, special)
    first = {row["pair_id"]: row["a"] for row in _rows(inputs, "pairs")}
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


def _rows(inputs: Inputs, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a step's file, none for a step that the round did not have."""
    path = inputs.find(name)
    return iterate_rows(path) if path is not None else iter(())


def _answers(
    completions: Path,
    needed: Set[str],
    prompts: Mapping[str, Prompt],
    special: SpecialTokens,
) -> dict[str, AuditedAnswer]:
    columns = ["completion_id", "prompt_id", "text", "prompt_token_ids", "token_ids"]
    found = {}
    for row in iterate_rows(completions, [*columns, "finish_reason"]):
        if row["completion_id"] in needed:
            finished = row["finish_reason"] == "stop"
            ids = (row["prompt_token_ids"], row["token_ids"])
            faults = token_faults(prompts[row["prompt_id"]], *ids, finished, special)
            found[row["completion_id"]] = AuditedAnswer(row["text"], len(ids[1]), finished, faults)
    return found


def _judged(inputs: Inputs, retracted: Sequence[str]) -> SourceVotes:
    judgements, labels = _rows(inputs, "judgements"), _rows(inputs, "labels")
    asked = (row for row in labels if row["kind"] != "gold")
    return judged(
        (row for row in judgements if row["source"] not in retracted),
        (row for row in asked if person(row["annotator"]) not in retracted),
    )
