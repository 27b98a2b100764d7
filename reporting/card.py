"""The card of a round's policy: what it was made of, how it was judged, what that does not show.

Whatever a user, a person who labels or a model wrote is text in it: it makes no mark of markdown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.campaign.ledger import Entry
from dpo_core.gguf.header import names_gguf
from dpo_core.records import is_person
from dpo_core.text import counted, visible
from flows.config import CampaignConfig
from labeling.exchange.markdown import code, escape, front_matter, table
from labeling.judges.config import AnyJudgeConfig, members
from reporting.card_numbers import NATS, SHARE, as_text, cell, evaluation, interval
from reporting.certified import certified_sentences
from reporting.numbers import Row, number
from reporting.sentences import cautions, verdict
from reporting.summary import CampaignSummary


@dataclass(frozen=True)
class PolicyFacts:
    """What the card of one round's policy is made of. made: the steps of the round as they stand;
    licence: as the user named it, None: nobody did."""

    summary: CampaignSummary
    config: CampaignConfig
    row: Row
    made: Sequence[Entry]
    licence: str | None = None

    @property
    def rounds(self) -> list[Row]:
        """The rounds up to this one."""
        return [row for row in self.summary.rounds if row["round"] <= self.row["round"]]

    @property
    def line(self) -> list[Row]:
        """Those among them that the policy came through: no refused round's training is in it."""
        by_policy = {row.get("policy"): row for row in self.rounds}
        found = [self.row]
        while (before := by_policy.get(found[0].get("previous_policy"))) is not None:
            if before in found:
                break
            found.insert(0, before)
        return found


def model_card(facts: PolicyFacts) -> str:
    """README.md of the policy, with the front matter that the hub reads."""
    row, name = facts.row, facts.summary.name
    parts = [
        f"# {escape(name)}, round {row['round']}",
        f"A policy of iterative online DPO, made by the campaign {escape(name)} with Ratchet. "
        + as_text(verdict(row)),
        *_use(facts.config),
        *_data(facts),
        *_rounds(facts),
        *_judges(facts.config),
        *evaluation(facts.row, facts.config),
        *_lineage(facts),
        *_limits(facts),
        *_licence(facts),
    ]
    return _head(facts) + "\n" + "\n\n".join(part for part in parts if part) + "\n"


def _head(facts: PolicyFacts) -> str:
    policy = facts.config.policy
    head: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["dpo", "rlhf", "iterative-dpo", "ratchet"],
    }
    if policy.model is not None and _of_the_hub(policy.model):
        head |= {"base_model": policy.model, "base_model_relation": "finetune"}
    if facts.licence is not None:
        head |= {"license": facts.licence}
    return front_matter(head)


def _of_the_hub(model: str) -> bool:
    """NAME/MODEL, and no folder: the config's paths are absolute."""
    return model.count("/") == 1 and not model.startswith(("/", ".", "~"))


def _kind(model: str) -> str:
    return " (a GGUF file)" if names_gguf(model) else " (a folder)"


def _use(config: CampaignConfig) -> list[str]:
    sampling = config.sampling
    return [
        "## Use",
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("PATH")\n'
        'tokenizer = AutoTokenizer.from_pretrained("PATH")\n```',
        f"It was sampled and evaluated at temperature {sampling.temperature:g}, top_p "
        f"{sampling.top_p:g}, at most {sampling.max_tokens} tokens: other settings are untested.",
    ]


def _data(facts: PolicyFacts) -> list[str]:
    prompts = facts.config.prompts
    source = prompts.path.rpartition("/")[2] if prompts.path is not None else prompts.function
    rounds = facts.line
    labels: dict[str, int] = {}
    for row in rounds:
        for who, count in (row.get("labels_by_source") or {}).items():
            labels[who] = labels.get(who, 0) + count
    people = [who for who in labels if is_person(who)]
    said = "No label is by a person."
    if people:
        given = sum(labels[who] for who in people)
        said = f"{given:,} labels are by people ({len(people)} of them)."
    verdicts = [
        (code(visible(who)), f"{count:,}")
        for who, count in sorted(labels.items())
        if not is_person(who)
    ]
    return [
        "## Data",
        f"Prompts: {code(visible(source or ''))}. In {counted(len(rounds), 'round')} the policy "
        f"answered {_sum(rounds, 'prompts')} prompts with {_sum(rounds, 'completions')} "
        f"completions; {_sum(rounds, 'pairs')} preferences between its own answers were trained "
        f"on. {said}",
        table(("judge", "verdicts"), verdicts),
        *_dropped(rounds),
    ]


def _dropped(rounds: Sequence[Row]) -> list[str]:
    reasons: dict[str, int] = {}
    for row in rounds:
        for reason, count in (row.get("dropped") or {}).items():
            reasons[reason] = reasons.get(reason, 0) + count
    rows = [(as_text(reason), f"{count:,}") for reason, count in sorted(reasons.items())]
    return [table(("dropped because", "count"), rows)]


def _rounds(facts: PolicyFacts) -> list[str]:
    line = facts.line
    rows = [
        (
            str(row["round"]),
            "yes" if row.get("promoted") else "no",
            "yes" if row in line else "no",
            cell(row, "prompts"),
            cell(row, "pairs"),
            interval(row, "win_rate_base", SHARE),
            interval(row, "kl_base_nats", NATS),
            code(str(row.get("policy"))[:16]),
        )
        for row in facts.rounds
    ]
    training, trained = facts.config.training, _trained_with(facts)
    rate = trained.get("learning_rate", training.learning_rate)
    counts = ("prompts", "preferences")
    gained = ("wins vs base", "KL to base", "weights")
    header = ("round", "promoted", "in this policy", *counts, *gained)
    return [
        "## Rounds",
        f"Loss {training.loss}, β {training.beta:g}, learning rate {rate}, "
        f"reference {as_text(str(training.reference))}: as the config says; a round that was tried "
        "again may have been trained with other values. A round starts from the last promoted one.",
        table(header, rows),
    ]


def _trained_with(facts: PolicyFacts) -> Mapping[str, Any]:
    """The numbers that the round's training recorded; none by older versions of Ratchet."""
    found = (entry.facts.get("settings") for entry in facts.made if entry.step == "training")
    return next(found, None) or {}


def _judges(config: CampaignConfig) -> list[str]:
    def named(judge: AnyJudgeConfig) -> str:
        sources = (getattr(member, "source", "people") for member in members(judge))
        return ", ".join(code(visible(source)) for source in sources)

    return [
        "## Judges",
        f"- trained by: {named(config.judge)}\n- evaluated by: {named(config.held_out_judge)}",
    ]


def _lineage(facts: PolicyFacts) -> list[str]:
    row, config = facts.row, facts.config
    policy = config.policy
    base = policy.model or policy.build or ""
    revision = f", revision {code(visible(policy.revision))}" if policy.revision else ""
    local = "" if policy.model is None or _of_the_hub(policy.model) else _kind(policy.model)
    shown = base if not local else base.rstrip("/").rpartition("/")[2]
    versions = {k: v for entry in facts.made for k, v in entry.versions.items()}
    return [
        "## Lineage",
        f"- weights: {code(str(row.get('policy')))}\n"
        f"- trained from: {code(str(row.get('previous_policy')))}\n"
        f"- base: {code(visible(shown))}{local}{revision}\n"
        f"- campaign: {escape(facts.summary.name)}, seed {config.seed}; its ledger has every step",
        table(
            ("step", "fingerprint", "made"),
            [(e.step, code(e.fingerprint[:16]), escape(e.at)) for e in facts.made],
        ),
        "Versions: " + ", ".join(f"{escape(k)} {escape(v)}" for k, v in sorted(versions.items()))
        if versions
        else "",
    ]


def _limits(facts: PolicyFacts) -> list[str]:
    lines = [
        "A win rate says what the judge of the evaluation prefers, on prompts like those of the "
        "training. It is no measure of truth, of safety, or of other tasks: none of these was "
        "tested.",
        "The intervals hold what drawing other prompts would change, not what another judge, "
        "another seed of the training or other sampling settings would.",
        *_promotion(facts.summary),
        "Held-out prompts are kept apart by a hash of their text: near copies are only counted "
        "(see the overlap in the report).",
        *cautions(facts.summary, facts.row),
    ]
    if not facts.row.get("promoted"):
        lines.insert(0, "The gate refused this policy.")
    return ["## Limits", "\n".join(f"- {as_text(line)}" for line in lines)]


def _promotion(summary: CampaignSummary) -> tuple[str, ...]:
    apart = "the numbers above are of test prompts, which decide nothing."
    if found := certified_sentences(summary):
        return (*found, f"Promotion was decided on gate prompts; {apart}")
    flatters = "Promotion was decided on gate prompts round after round, which flatters the winner"
    return (f"{flatters}; {apart}",)


def _licence(facts: PolicyFacts) -> list[str]:
    base = "The licences of the base model, of the prompts and of the judges' models go on to bind."
    if facts.licence is None:
        return [
            "## Licence",
            "Not stated. Whoever publishes this says under which licence "
            f"(`ratchet publish … --licence ID`). {base}",
        ]
    return ["## Licence", f"{code(facts.licence)}. {base}"]


def _sum(rows: Sequence[Row], name: str) -> str:
    return f"{sum(number(row, name) or 0 for row in rows):,.0f}"
