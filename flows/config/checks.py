"""Sections that cannot stand together: a ValueError names the keys and the remedy."""

from collections.abc import Sequence

from dpo_core.campaign.prices import PricesConfig
from dpo_core.config import PolicyConfig, Section, SftConfig, TrainingOptions
from dpo_core.errors import ConfigError
from dpo_core.gate.config import GateConfig, StopConfig
from dpo_core.loss_options import TRAITS, check_combination
from flows.config.evaluation import HeldOutConfig
from flows.config.training import DataConfig, LastRounds, MixRounds
from generation.config import PromptsConfig, SamplingConfig
from labeling.config import AggregationConfig, PairsConfig, PeopleConfig
from labeling.judges.config import (
    AnyJudgeConfig,
    asks_people,
    asks_relevance,
    gives_scores,
    machines,
)
from labeling.pairs.config import RoundPolicy


def check_sources(policy: PolicyConfig, prompts: PromptsConfig, sft: SftConfig | None) -> None:
    """Each comes from one place, and some prompts are left to train on."""
    _exactly_one("policy", policy, ("model", "build"))
    _exactly_one("prompts", prompts, ("path", "dataset", "function"))
    if sft is not None:
        _exactly_one("sft", sft, ("path", "function"))
    if prompts.gate_share + prompts.test_share >= 1:
        raise ValueError(
            "prompts.gate_share and prompts.test_share leave nothing to train on: "
            "lower them until their sum is below 1"
        )
    _check_policy(policy)


def _check_policy(policy: PolicyConfig) -> None:
    for key, needs in (("revision", "model"), ("build_args", "build")):
        if getattr(policy, key) and getattr(policy, needs) is None:
            raise ValueError(
                f"policy.{key} belongs to policy.{needs}, which is not given: remove it"
            )


def _exactly_one(section: str, values: Section, names: Sequence[str]) -> None:
    given = [name for name in names if getattr(values, name) is not None]
    if len(given) != 1:
        some, none = ("both", "neither") if len(names) == 2 else (" and ".join(given), "none")
        found = f"{some} are given" if given else f"{none} is given"
        choice = f"{', '.join(names[:-1])} and {names[-1]}"
        raise ValueError(f"{section}: give exactly one of {choice} ({found})")


def check_judges(
    judge: AnyJudgeConfig, evaluation_judge: AnyJudgeConfig | None, people: PeopleConfig | None
) -> None:
    """Held-out answers have a judge, none of them people; people are described where asked."""
    if evaluation_judge is not None and asks_people(evaluation_judge):
        raise ValueError(
            "evaluation_judge must need no person, since held-out answers are judged in every "
            "round: give a rule, a reward model or a language model"
        )
    if not list(machines(evaluation_judge or judge)):
        raise ValueError(
            "judge.kind human leaves held-out answers unjudged: add an evaluation_judge, such as "
            "{kind: rule, function: 'my_judge:score'}"
        )
    if asks_relevance(evaluation_judge or judge):
        raise ValueError(
            "judge.relevance is for training; of held-out answers evaluation.relevance measures "
            "the same: remove it from the judge that evaluates, or add an evaluation_judge that "
            "has none"
        )
    if people is not None and not asks_people(judge):
        raise ValueError(
            "people says how people are asked, but judge asks none: remove it, make judge "
            "{kind: human}, or add a member of kind human to a committee"
        )


def check_people(people: PeopleConfig, labels: int | None, judge: AnyJudgeConfig) -> None:
    """Shares leave room for new pairs, and the budget of `labels` pays for at least one pair."""
    _check_machines_for_people(people, judge)
    if people.gold_share + people.repeat_share >= 1:
        raise ValueError(
            "people.gold_share and people.repeat_share leave no room for new pairs: lower them "
            "until their sum is below 1"
        )
    if (people.gold is None) != (people.gold_share == 0):
        raise ValueError(
            "people.gold and people.gold_share belong together: give a file of known pairs and the "
            "share of them, or neither"
        )
    if labels is None:
        return
    if not asks_people(judge):
        raise ValueError(
            "budget.human_labels limits what people are asked, but judge asks none: remove it, or "
            "make judge a committee with a member of kind human"
        )
    if labels < people.min_submitted:
        raise ValueError(
            f"budget.human_labels {labels} pays for no pair, since people.min_submitted asks "
            f"{people.min_submitted} people about each: raise the first or lower the second"
        )


def _check_machines_for_people(people: PeopleConfig, judge: AnyJudgeConfig) -> None:
    if list(machines(judge)):
        return
    if people.at_deadline == "judge":
        raise ValueError(
            "people.at_deadline judge leaves pairs to a judge, but people are the only one: set it "
            "to use or stop, or make the judge a committee with another member"
        )
    if people.mode == "review":
        raise ValueError(
            "people.mode review shows what the judge says, but people are the only one: set it to "
            "blind, or make the judge a committee with another member"
        )


def check_sampling(sampling: SamplingConfig, answers_each: int) -> None:
    """There are two answers to compare, room for a prompt, and an engine that can do it."""
    if answers_each < 2:
        raise ValueError("sampling.samples_per_prompt must be at least 2 to make a pair")
    if sampling.max_model_len is not None and sampling.max_model_len <= sampling.max_tokens:
        raise ValueError(
            f"sampling.max_model_len {sampling.max_model_len} holds prompt and answer, but "
            f"sampling.max_tokens {sampling.max_tokens} leaves no room for a prompt: "
            "raise the first or lower the second"
        )
    if sampling.engine == "transformers" and sampling.tensor_parallel_size > 1:
        raise ValueError(
            "sampling.tensor_parallel_size needs engine vllm: remove it, or set sampling.engine "
            "to vllm"
        )


def check_pairs(pairs: PairsConfig, judge: AnyJudgeConfig) -> None:
    """A strategy that looks at scores has them."""
    if pairs.strategy != "random" and not gives_scores(judge):
        raise ValueError(
            f"pairs.strategy {pairs.strategy} needs scores, but no judge gives them: "
            "set pairs.strategy to random, or give scores"
        )


def check_rejected(
    pairs: PairsConfig, judge: AnyJudgeConfig, training: TrainingOptions, rounds: int
) -> None:
    """Whether another's answer is worse than the policy's is for scores to say."""
    named = pairs.rejected_from
    if named is None:
        return
    _check_margins("pairs.rejected_from", pairs, judge)
    if training.reference_logps == "from_sampling":
        raise ValueError(
            "training.reference_logps from_sampling needs the policy's log-probs of both answers, "
            "and pairs.rejected_from has the rejected one sampled by another: set reference_logps "
            "to pass, or remove rejected_from"
        )
    if isinstance(named, RoundPolicy) and named.round >= rounds:
        raise ValueError(
            f"pairs.rejected_from names the policy of round {named.round}, but the last of the "
            f"{rounds} rounds is trained before it is there: name an earlier round, or 0 for the "
            "base, or raise rounds"
        )


def check_draws(
    prompts: PromptsConfig, sampling: SamplingConfig, pairs: PairsConfig, judge: AnyJudgeConfig
) -> None:
    """What looks at margins has them; what is preferred may be drawn."""
    for key, given in (
        ("sampling.until_pairs", sampling.until_pairs is not None),
        ("prompts.prefer informative", prompts.prefer == "informative"),
    ):
        if given:
            _check_margins(key, pairs, judge)
    if sampling.budget_tokens is not None and sampling.until_pairs is None:
        raise ValueError(
            "sampling.budget_tokens limits what is sampled until sampling.until_pairs are there, "
            "which is not given: give it, or remove the budget"
        )
    if prompts.prefer == "informative" and not prompts.reuse:
        raise ValueError(
            "prompts.prefer informative draws prompts again whose answers differed, and "
            "prompts.reuse false draws none again: remove one of them"
        )


def _check_margins(key: str, pairs: PairsConfig, judge: AnyJudgeConfig) -> None:
    if not gives_scores(judge):
        raise ValueError(
            f"{key} looks at the margin of scores between answers, but no judge gives scores: "
            "remove it, or give a judge that scores"
        )
    if pairs.strategy == "random":
        raise ValueError(
            f"{key} looks at the margin of scores between answers, which pairs.strategy random "
            "does not: remove it, or set the strategy to best_worst"
        )


def check_data(data: DataConfig) -> None:
    """A mix with imported preferences names them."""
    rounds = data.rounds
    if isinstance(rounds, MixRounds) and rounds.mix.imported > 0 and data.imported is None:
        raise ValueError(
            f"data.rounds.mix.imported {rounds.mix.imported:g} is the weight of imported "
            "preferences, but data.imported names none: remove it, or import some"
        )


def check_certified(gate: GateConfig, evaluation: HeldOutConfig) -> None:
    """A decision looks at the gate prompts of the evaluation at least."""
    first = evaluation.gate_prompts
    if gate.at_most_prompts is None or first == "auto":
        return
    if gate.at_most_prompts < first:
        raise ValueError(
            f"gate.at_most_prompts {gate.at_most_prompts} is fewer than the evaluation."
            f"gate_prompts {first} with which each decision begins: raise the "
            "first or lower the second"
        )


def check_gate(gate: GateConfig, sampling: SamplingConfig) -> None:
    """A budget of KL needs KL, and that needs answers drawn from the policy as it is."""
    if gate.kl_budget not in (None, "auto") and not sampling.is_raw:
        raise ValueError(
            f"gate.kl_budget {gate.kl_budget:g} needs the KL to the base, which is measured at "
            f"temperature 1 and top_p 1 only (found sampling.temperature "
            f"{sampling.temperature:g}, sampling.top_p {sampling.top_p:g}): set both to 1, or "
            "remove gate.kl_budget"
        )


def check_stop(stop: StopConfig, prices: PricesConfig, judge: AnyJudgeConfig) -> None:
    """A budget of money needs prices, or nothing would ever be spent of it."""
    priced = any(value is not None for name, value in prices if name != "currency")
    judges = any(getattr(m, "money_per_million_tokens_in", None) for m in machines(judge))
    if stop.money is not None and not priced and not judges:
        raise ValueError(
            "stop.money needs to know what things cost: give prices, such as prices.gpu_hour or "
            "prices.label, or remove stop.money"
        )


def check_loss(training: TrainingOptions, source: str) -> None:
    """Raise ConfigError for a loss with options that have no meaning together.

    Campaigns that were made with them can still be read: this is asked of what shall be run.
    """
    try:
        check_combination(training.loss, wpo=training.wpo, shortened=training.shortens)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None


def check_aggregation(aggregation: AggregationConfig, loss: str, judge: AnyJudgeConfig) -> None:
    """The loss takes soft targets where they are wanted; a judge is calibrated with people."""
    if aggregation.targets == "soft" and not TRAITS[loss].soft_labels:
        taking = ", ".join(name for name, traits in TRAITS.items() if traits.soft_labels)
        raise ValueError(
            f"aggregation.targets soft needs a loss that takes p_chosen, and training.loss "
            f"{loss} does not: choose one of {taking}, or set targets to hard"
        )
    both = asks_people(judge) and list(machines(judge))
    if aggregation.calibrate and not both:
        raise ValueError(
            "aggregation.calibrate compares a judge with people: make judge a committee of both, "
            "or remove it"
        )


def check_reference_logps(
    training: TrainingOptions, sampling: SamplingConfig, data: DataConfig
) -> None:
    """Log-probs from sampling are the policy's own, and of every answer that is trained on."""
    if training.reference_logps != "from_sampling":
        return
    # At temperature 1 without a cut, raw log-probs and those of what was drawn are the same ones.
    if not sampling.is_raw:
        raise ValueError(
            "training.reference_logps from_sampling needs the policy's own log-probs, those at "
            f"temperature 1 and top_p 1 (found sampling.temperature {sampling.temperature:g}, "
            f"sampling.top_p {sampling.top_p:g}): set both to 1, or reference_logps to pass"
        )
    if data.rounds not in ("latest", LastRounds(last=1)):
        raise ValueError(
            "training.reference_logps from_sampling needs answers that the round's own policy "
            "sampled, but data.rounds brings in those of other rounds: set data.rounds to latest, "
            "or reference_logps to pass"
        )
