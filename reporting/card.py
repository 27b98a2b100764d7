"""The model card of a round's policy: data, training, evaluation, lineage, limits.

Text by users, annotators and models is escaped, so that it cannot act as markdown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.gguf.header import names_gguf
from dpo_core.records import is_person
from dpo_core.text import counted, visible
from dpo_core.training.results import TrainingFacts
from flows.config import CampaignConfig
from labeling.exchange.markdown import code, escape, front_matter, table
from labeling.judges.config import AnyJudgeConfig, members
from reporting.card_numbers import as_text, evaluation, whole
from reporting.certification import certification_sentences
from reporting.number_formats import format_metric
from reporting.numbers import ratings
from reporting.sentences import cautions, is_open, verdict
from reporting.summary import CampaignSummary


@dataclass(frozen=True)
class PolicyFacts:
    """What the model card of a round's policy is made from.

    row: metrics of the round. steps: its valid ledger entries. licence: as the user gave it, or
    None.
    """

    summary: CampaignSummary
    config: CampaignConfig
    row: RoundMetrics
    steps: Sequence[Entry]
    licence: str | None = None

    @property
    def rounds(self) -> list[RoundMetrics]:
        """The rounds up to this one."""
        return [row for row in self.summary.rounds if row.round <= self.row.round]

    @property
    def lineage(self) -> list[RoundMetrics]:
        """The rounds whose training is in this policy: no rejected round is."""
        by_policy = {row.policy: row for row in self.rounds}
        rows = [self.row]
        while (before := by_policy.get(rows[0].previous_policy)) is not None:
            if before in rows:
                break
            rows.insert(0, before)
        return rows


def model_card(facts: PolicyFacts) -> str:
    """README.md of the policy, with front matter for the Hugging Face Hub."""
    row, name = facts.row, facts.summary.name
    parts = [
        f"# {escape(name)}, round {row.round}",
        f"A policy trained by iterative online DPO in the Ratchet campaign {escape(name)}. "
        + as_text(verdict(row, facts.config.evaluation.confidence)),
        *_use(facts.config),
        *_data(facts),
        *_rounds(facts),
        *_judges(facts.config),
        *evaluation(facts.row, facts.config, ratings(facts.summary)),
        *_lineage(facts),
        *_limits(facts),
        *_licence(facts),
    ]
    return _head(facts) + "\n" + "\n\n".join(part for part in parts if part) + "\n"


def _head(facts: PolicyFacts) -> str:
    policy = facts.config.policy
    head: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["dpo", "rlhf", "iterative-dpo", "ratchet"],
    }
    if policy.model is not None and _is_hub_id(policy.model):
        head |= {"base_model": policy.model, "base_model_relation": "finetune"}
    if facts.licence is not None:
        head |= {"license": facts.licence}
    return front_matter(head)


def _is_hub_id(model: str) -> bool:
    """Whether it is NAME/MODEL and not a folder; the config's paths are absolute."""
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
        f"Sampled and evaluated at temperature {sampling.temperature:g}, top_p "
        f"{sampling.top_p:g}, at most {sampling.max_tokens} tokens. Other settings are untested.",
    ]


def _data(facts: PolicyFacts) -> list[str]:
    prompts = facts.config.prompts
    source = prompts.path.rpartition("/")[2] if prompts.path is not None else prompts.function
    rounds = facts.lineage
    labels: dict[str, int] = {}
    for row in rounds:
        for who, count in (row.labels_by_source or {}).items():
            labels[who] = labels.get(who, 0) + count
    people = [who for who in labels if is_person(who)]
    human = "There are no human labels."
    if people:
        given = sum(labels[who] for who in people)
        human = f"{given:,} labels are human, by {counted(len(people), 'annotator')}."
    verdicts = [
        (code(visible(who)), f"{count:,}")
        for who, count in sorted(labels.items())
        if not is_person(who)
    ]
    return [
        "## Data",
        f"Prompts: {code(visible(source or ''))}. In {counted(len(rounds), 'round')} the policy "
        f"answered {_sum(rounds, 'prompts')} prompts with {_sum(rounds, 'completions')} "
        f"completions and was trained on {_sum(rounds, 'pairs')} preferences between them. {human}",
        table(("judge", "verdicts"), verdicts),
        *_dropped(rounds),
    ]


def _dropped(rounds: Sequence[RoundMetrics]) -> list[str]:
    reasons: dict[str, int] = {}
    for row in rounds:
        for reason, count in (row.dropped or {}).items():
            reasons[reason] = reasons.get(reason, 0) + count
    rows = [(as_text(reason), f"{count:,}") for reason, count in sorted(reasons.items())]
    return [table(("dropped because", "count"), rows)]


def _rounds(facts: PolicyFacts) -> list[str]:
    line = facts.lineage
    rows = [
        (
            str(row.round),
            "yes" if row.promoted else "not decided yet" if is_open(row) else "no",
            "yes" if row in line else "no",
            whole(row.prompts),
            whole(row.pairs),
            format_metric(row, "win_rate_base"),
            format_metric(row, "kl_base_nats"),
            code(str(row.policy)[:16]),
        )
        for row in facts.rounds
    ]
    training = facts.config.training
    trained = [entry for entry in facts.steps if entry.step == "training"][:1]
    recorded = [TrainingFacts.read(entry.facts).settings.learning_rate for entry in trained]
    rate = next(iter(recorded), None) or training.learning_rate
    counts = ("prompts", "preferences")
    gained = ("wins vs base", "KL to base", "weights")
    header = ("round", "promoted", "in this policy", *counts, *gained)
    return [
        "## Rounds",
        f"Loss {training.loss}, β {training.beta:g}, learning rate {rate}, "
        f"reference {as_text(str(training.reference))}, from the config; a retried round may have "
        "used other values. Each round starts from the last promoted policy.",
        table(header, rows),
    ]


def _judges(config: CampaignConfig) -> list[str]:
    def names(judge: AnyJudgeConfig) -> str:
        sources = (getattr(member, "source", "people") for member in members(judge))
        return ", ".join(code(visible(source)) for source in sources)

    return [
        "## Judges",
        f"- trained by: {names(config.judge)}\n- evaluated by: {names(config.held_out_judge)}",
    ]


def _lineage(facts: PolicyFacts) -> list[str]:
    row, config = facts.row, facts.config
    policy = config.policy
    base = policy.model or policy.build or ""
    revision = f", revision {code(visible(policy.revision))}" if policy.revision else ""
    local = "" if policy.model is None or _is_hub_id(policy.model) else _kind(policy.model)
    name = base if not local else base.rstrip("/").rpartition("/")[2]
    versions = {k: v for entry in facts.steps for k, v in entry.versions.items()}
    by = [entry.ratchet for entry in facts.steps if entry.ratchet]
    versions |= {"ratchet": by[-1]} if by else {}
    return [
        "## Lineage",
        f"- weights: {code(str(row.policy))}\n"
        f"- trained from: {code(str(row.previous_policy))}\n"
        f"- base: {code(visible(name))}{local}{revision}\n"
        f"- campaign: {escape(facts.summary.name)}, seed {config.seed}; its ledger has every step",
        table(
            ("step", "fingerprint", "made"),
            [(e.step, code(e.fingerprint[:16]), escape(e.at)) for e in facts.steps],
        ),
        "Versions: " + ", ".join(f"{escape(k)} {escape(v)}" for k, v in sorted(versions.items()))
        if versions
        else "",
    ]


def _limits(facts: PolicyFacts) -> list[str]:
    lines = [
        "A win rate measures what the evaluation judge prefers on prompts like the training "
        "prompts. Truth, safety and other tasks were not tested.",
        "The intervals cover the choice of prompts. They do not cover the judge, the training seed "
        "or the sampling settings.",
        *_promotion(facts.summary),
        "Held-out prompts are separated from training prompts by a hash of their text. Near copies "
        "are counted, not removed (see the overlap in the report).",
        *cautions(facts.summary, facts.row),
    ]
    if is_open(facts.row):
        lines.insert(0, "Whether to promote this policy is not decided yet: a person is asked.")
    elif not facts.row.promoted:
        lines.insert(0, "The gate did not promote this policy.")
    return ["## Limits", "\n".join(f"- {as_text(line)}" for line in lines)]


def _promotion(summary: CampaignSummary) -> tuple[str, ...]:
    apart = "The evaluation above is on test prompts, whose win rates play no part in it."
    if certified := certification_sentences(summary):
        return (*certified, f"Promotion was decided on gate prompts. {apart}")
    return (
        "Promotion was decided on the same gate prompts in every round, which biases their win "
        f"rates upwards. {apart}",
    )


def _licence(facts: PolicyFacts) -> list[str]:
    base = "The licences of the base model, the prompts and the judge models still apply."
    if facts.licence is None:
        return [
            "## Licence",
            f"Not stated; set one with `ratchet publish … --licence ID`. {base}",
        ]
    return ["## Licence", f"{code(facts.licence)}. {base}"]


def _sum(rows: Sequence[RoundMetrics], name: str) -> str:
    return f"{sum(row.number(name) or 0 for row in rows):,.0f}"
