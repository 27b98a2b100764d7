"""Checks across sections: each raises ValueError that names the keys and the remedy."""

from collections.abc import Sequence

from dpo_core.campaign.prices import PricesConfig
from dpo_core.config import PolicyConfig, Section, SftConfig, TrainingOptions
from dpo_core.errors import ConfigError
from dpo_core.gate.config import GateConfig, StopConfig
from dpo_core.loss_options import TRAITS, check_combination, traits_of
from flows.config.compute import ComputeConfig
from flows.config.evaluation import HeldOutConfig
from flows.config.storage import StorageConfig
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
    """Each has exactly one source, and the held-out shares leave training prompts."""
    _exactly_one("policy", policy, ("model", "build"))
    _exactly_one("prompts", prompts, ("path", "dataset", "function"))
    if sft is not None:
        _exactly_one("sft", sft, ("path", "function"))
    if prompts.gate_share + prompts.test_share >= 1:
        raise ValueError(
            f"prompts.gate_share {prompts.gate_share:g} and prompts.test_share "
            f"{prompts.test_share:g} leave no training prompts: lower them until their sum is "
            "below 1"
        )
    _check_policy(policy)


def _check_policy(policy: PolicyConfig) -> None:
    for key, needs in (("revision", "model"), ("build_args", "build")):
        if getattr(policy, key) and getattr(policy, needs) is None:
            raise ValueError(
                f"policy.{key} has no effect without policy.{needs}, which is not set: remove it"
            )


def _exactly_one(section: str, values: Section, names: Sequence[str]) -> None:
    given = [name for name in names if getattr(values, name) is not None]
    if len(given) != 1:
        some, none = ("both", "neither") if len(names) == 2 else (" and ".join(given), "none")
        found = f"{some} are set" if given else f"{none} is set"
        choice = f"{', '.join(names[:-1])} and {names[-1]}"
        raise ValueError(f"{section}: set exactly one of {choice} ({found})")


def check_judges(
    judge: AnyJudgeConfig, evaluation_judge: AnyJudgeConfig | None, people: PeopleConfig | None
) -> None:
    """Held-out answers have an automatic judge; `people` is set only if people are asked."""
    if evaluation_judge is not None and asks_people(evaluation_judge):
        raise ValueError(
            "evaluation_judge asks people, but held-out answers are judged automatically in every "
            "round: set a rule, a reward model or a language model"
        )
    if not list(machines(evaluation_judge or judge)):
        raise ValueError(
            "held-out answers have no judge, because judge asks people only: add an "
            "evaluation_judge, such as {kind: rule, function: 'my_judge:score'}"
        )
    if asks_relevance(evaluation_judge or judge):
        raise ValueError(
            "judge.relevance applies to training only, and this judge also judges held-out "
            "answers: remove it (evaluation.relevance measures the same on held-out answers), or "
            "add an evaluation_judge without it"
        )
    if people is not None and not asks_people(judge):
        raise ValueError(
            "people configures labelling, but judge asks no people: remove it, set judge to "
            "{kind: human}, or add a member of kind human to a committee"
        )


def check_people(people: PeopleConfig, labels: int | None, judge: AnyJudgeConfig) -> None:
    """Shares leave room for new pairs, and the budget of `labels` covers at least one pair."""
    _check_machines_for_people(people, judge)
    if people.gold_share + people.repeat_share >= 1:
        raise ValueError(
            f"people.gold_share {people.gold_share:g} and people.repeat_share "
            f"{people.repeat_share:g} leave no room for new pairs: lower them until their sum is "
            "below 1"
        )
    if (people.gold is None) != (people.gold_share == 0):
        raise ValueError(
            "people.gold and people.gold_share need each other: set a file of known pairs and "
            "their share, or neither"
        )
    if labels is None:
        return
    if not asks_people(judge):
        raise ValueError(
            "budget.human_labels limits labels from people, but judge asks no people: remove it, "
            "or make judge a committee with a member of kind human"
        )
    if labels < people.min_submitted:
        raise ValueError(
            f"budget.human_labels {labels} does not cover one pair, which takes "
            f"people.min_submitted {people.min_submitted} labels: raise the first or lower the "
            "second"
        )


def _check_machines_for_people(people: PeopleConfig, judge: AnyJudgeConfig) -> None:
    if list(machines(judge)):
        return
    if people.at_deadline == "judge":
        raise ValueError(
            "people.at_deadline judge hands missing pairs to an automatic judge, but people are "
            "the only judge: set it to use or stop, or make the judge a committee with another "
            "member"
        )
    if people.mode == "review":
        raise ValueError(
            "people.mode review shows people the judge's verdict, but people are the only judge: "
            "set it to blind, or make the judge a committee with another member"
        )


def check_sampling(sampling: SamplingConfig, answers_each: int, compute: ComputeConfig) -> None:
    """Two answers to compare, room for a prompt, and an engine that supports the options."""
    if answers_each < 2:
        raise ValueError(
            "sampling.samples_per_prompt must be at least 2, since a pair takes two answers "
            f"(found {sampling.samples_per_prompt})"
        )
    if sampling.max_model_len is not None and sampling.max_model_len <= sampling.max_tokens:
        raise ValueError(
            f"sampling.max_tokens {sampling.max_tokens} leaves no room for a prompt in "
            f"sampling.max_model_len {sampling.max_model_len}, which counts prompt and answer: "
            "lower the first or raise the second"
        )
    if sampling.engine == "transformers" and sampling.tensor_parallel_size > 1:
        raise ValueError(
            f"sampling.tensor_parallel_size {sampling.tensor_parallel_size} needs engine vllm: "
            "remove it, or set sampling.engine to vllm"
        )
    workers = compute.sampling_workers
    if sampling.engine == "transformers" and workers != "auto" and workers > 1:
        raise ValueError(
            f"compute.sampling_workers {workers} needs engine vllm: remove it, or set "
            "sampling.engine to vllm"
        )


def check_compute(
    compute: ComputeConfig, training: TrainingOptions, storage: StorageConfig
) -> None:
    """What starts processes on other machines is one of the two, and files reach them."""
    if compute.kind == "ray" and training.torchrun:
        raise ValueError(
            "training.torchrun starts processes on machines of your own, and so does compute.kind "
            "ray: remove training.torchrun, or set compute.kind to local"
        )
    if compute.kind == "local" and compute.address is not None:
        raise ValueError(
            f"compute.address {compute.address} is of a Ray cluster, but compute.kind is local: "
            "set compute.kind to ray, or remove compute.address"
        )
    if compute.nodes > 1 and compute.address is None:
        raise ValueError(
            f"compute.nodes {compute.nodes} needs a Ray cluster of as many machines: set "
            "compute.kind to ray and compute.address to that of the cluster, or remove "
            "compute.nodes"
        )
    if compute.cache_dir is None:
        return
    if compute.kind == "local" or storage.url is None:
        raise ValueError(
            f"compute.cache_dir {compute.cache_dir} is where the nodes of a Ray cluster keep files "
            "from the campaign's bucket: set compute.kind to ray and storage.url to a bucket, or "
            "remove compute.cache_dir"
        )
    if compute.nodes > 1:
        raise ValueError(
            f"compute.nodes {compute.nodes} train on a file system that they share, and "
            "compute.cache_dir is for nodes without one: remove one of them"
        )
    if storage.checkpoints:
        raise ValueError(
            "with compute.cache_dir checkpoints stay on the node that trains, and "
            "storage.checkpoints takes them from the campaign's folder: remove one of them"
        )


def check_pairs(pairs: PairsConfig, judge: AnyJudgeConfig) -> None:
    """A strategy that compares scores has a judge that gives them."""
    if pairs.strategy != "random" and not gives_scores(judge):
        raise ValueError(
            f"pairs.strategy {pairs.strategy} needs scores, but no judge gives them: "
            "set pairs.strategy to random, or use a judge that scores"
        )


def check_rejected(
    pairs: PairsConfig, judge: AnyJudgeConfig, training: TrainingOptions, rounds: int
) -> None:
    """Rejected answers from another model need scores, and a model that exists by then."""
    source = pairs.rejected_from
    if source is None:
        return
    _check_margins("pairs.rejected_from", pairs, judge)
    if training.reference_logps == "from_sampling":
        raise ValueError(
            "training.reference_logps from_sampling needs the policy's log-probs of both answers, "
            "but pairs.rejected_from takes the rejected one from another model: set "
            "reference_logps to pass, or remove rejected_from"
        )
    if isinstance(source, RoundPolicy) and source.round >= rounds:
        raise ValueError(
            f"pairs.rejected_from: round {source.round}'s policy does not exist yet when the last "
            f"of the {rounds} rounds trains: name an earlier round, or 0 for the base, or raise "
            "rounds"
        )


def check_draws(
    prompts: PromptsConfig, sampling: SamplingConfig, pairs: PairsConfig, judge: AnyJudgeConfig
) -> None:
    """Options that compare scores have them; preferred prompts may be reused."""
    for key, given in (
        ("sampling.until_pairs", sampling.until_pairs is not None),
        ("prompts.prefer informative", prompts.prefer == "informative"),
    ):
        if given:
            _check_margins(key, pairs, judge)
    if sampling.budget_tokens is not None and sampling.until_pairs is None:
        raise ValueError(
            "sampling.budget_tokens has no effect without sampling.until_pairs: set "
            "sampling.until_pairs, or remove the budget"
        )
    if prompts.prefer == "informative" and not prompts.reuse:
        raise ValueError(
            "prompts.prefer informative reuses prompts whose answers differed, but prompts.reuse "
            "is false: remove one of them"
        )


def _check_margins(key: str, pairs: PairsConfig, judge: AnyJudgeConfig) -> None:
    if not gives_scores(judge):
        raise ValueError(
            f"{key} needs score margins between answers, but no judge gives scores: remove it, or "
            "use a judge that scores"
        )
    if pairs.strategy == "random":
        raise ValueError(
            f"{key} needs score margins between answers, but pairs.strategy random ignores "
            "scores: remove it, or set the strategy to best_worst"
        )


def check_data(data: DataConfig) -> None:
    """A mix that weights imported preferences has some."""
    rounds = data.rounds
    if isinstance(rounds, MixRounds) and rounds.mix.imported > 0 and data.imported is None:
        raise ValueError(
            f"data.rounds.mix.imported {rounds.mix.imported:g} weights imported preferences, but "
            "data.imported is not set: remove it, or set data.imported to a folder that "
            "`ratchet import` wrote"
        )


def check_certified(gate: GateConfig, evaluation: HeldOutConfig) -> None:
    """A certified decision may use at least as many prompts as it begins with."""
    first = evaluation.gate_prompts
    if gate.at_most_prompts is None or first == "auto":
        return
    if gate.at_most_prompts < first:
        raise ValueError(
            f"gate.at_most_prompts {gate.at_most_prompts} is below evaluation.gate_prompts "
            f"{first}, with which each decision begins: raise the first or lower the second"
        )


def check_gate(gate: GateConfig, sampling: SamplingConfig) -> None:
    """A KL budget needs answers drawn from the unmodified policy distribution."""
    if gate.kl_budget not in (None, "auto") and not sampling.is_raw:
        raise ValueError(
            f"gate.kl_budget {gate.kl_budget:g} needs the KL to the base, which can be measured "
            f"only at temperature 1 and top_p 1 (found sampling.temperature "
            f"{sampling.temperature:g}, sampling.top_p {sampling.top_p:g}): set both to 1, or "
            "remove gate.kl_budget"
        )


def check_stop(stop: StopConfig, prices: PricesConfig, judge: AnyJudgeConfig) -> None:
    """A budget of money needs a price for something."""
    priced = any(value is not None for name, value in prices if name != "currency")
    judges = any(getattr(m, "money_per_million_tokens_in", None) for m in machines(judge))
    if stop.money is not None and not priced and not judges:
        raise ValueError(
            f"stop.money {stop.money:g} is never reached, because nothing has a price: set "
            "prices.gpu_hour, prices.label or another of prices, or remove stop.money"
        )


def check_loss(training: TrainingOptions, source: str) -> None:
    """Raise ConfigError for a loss with options that contradict it.

    Separate from validation, so that older campaigns with such options can still be read.
    """
    try:
        check_combination(training.loss, wpo=training.wpo, shortened=training.shortens)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None


def check_aggregation(aggregation: AggregationConfig, loss: str, judge: AnyJudgeConfig) -> None:
    """Soft targets need a loss that takes them; calibration needs people and a judge."""
    if aggregation.targets == "soft" and not traits_of(loss).soft_labels:
        taking = ", ".join(name for name, traits in TRAITS.items() if traits.soft_labels)
        raise ValueError(
            f"aggregation.targets soft needs a loss that takes p_chosen, and training.loss "
            f"{loss} does not: set training.loss to one of {taking}, or set targets to hard"
        )
    if aggregation.calibrate and not (asks_people(judge) and list(machines(judge))):
        raise ValueError(
            "aggregation.calibrate needs people and an automatic judge: make judge a committee of "
            "both, or remove it"
        )


def check_reference_logps(
    training: TrainingOptions, sampling: SamplingConfig, data: DataConfig
) -> None:
    """Log-probs from sampling are the policy's own, and cover every answer trained on."""
    if training.reference_logps != "from_sampling":
        return
    # Sampled and raw log-probs agree only at temperature 1 without truncation.
    if not sampling.is_raw:
        raise ValueError(
            "training.reference_logps from_sampling needs temperature 1 and top_p 1 (found "
            f"sampling.temperature {sampling.temperature:g}, sampling.top_p "
            f"{sampling.top_p:g}): set both to 1, or reference_logps to pass"
        )
    if data.rounds not in ("latest", LastRounds(last=1)):
        raise ValueError(
            "training.reference_logps from_sampling needs answers sampled by the round's own "
            "policy, but data.rounds adds those of other rounds: set data.rounds to latest, or "
            "reference_logps to pass"
        )
