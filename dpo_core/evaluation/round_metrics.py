"""A round's metrics: the columns of metrics.parquet, in order, with their meaning.

`metrics.json` of a round and `ratchet status --json` use the same names. `previous` always means
the policy that was promoted last. `_low` and `_high` are the ends of a confidence interval at
`evaluation.confidence`.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """A column of metrics.parquet. volatile: it differs between equal runs."""

    name: str
    kind: type
    meaning: str
    volatile: bool = False


def _interval(name: str, meaning: str, *, se: bool = False) -> list[Column]:
    columns = [
        Column(name, float, meaning),
        Column(f"{name}_low", float, f"lower end of the interval of {name}"),
        Column(f"{name}_high", float, f"upper end of the interval of {name}"),
    ]
    return [*columns, Column(f"{name}_se", float, f"standard error of {name}")] if se else columns


def _controlled(other: str, meaning: str) -> list[Column]:
    name = f"lc_win_rate_{other}"
    extrapolated = (
        f"whether fewer than 5 % of the comparisons of {name} lie on one side of equal length"
    )
    return [*_interval(name, meaning), Column(f"{name}_extrapolated", bool, extrapolated)]


def _kl(other: str) -> list[Column]:
    """KL from the policy to another, on the policy's own test completions."""
    return [
        *_interval(
            f"kl_{other}_nats",
            f"KL(policy || {other}), nats per completion, on test prompts",
            se=True,
        ),
        *_interval(
            f"kl_{other}_nats_per_token",
            f"kl_{other}_nats per token: sum over completions divided by their tokens",
            se=True,
        ),
    ]


def _other_policies(name: str) -> list[Column]:
    return [
        Column(f"{name}_previous", float, f"{name} of the previous policy"),
        Column(f"{name}_base", float, f"{name} of the base policy"),
    ]


def _text_columns(name: str, meaning: str, *, interval: bool = True) -> list[Column]:
    """A property of the answers to test prompts, for the policy and for the base."""
    own = _interval(name, meaning) if interval else [Column(name, float, meaning)]
    return [*own, Column(f"{name}_base", float, f"{name} of the base policy")]


def _seconds(part: str, meaning: str) -> Column:
    return Column(f"seconds_{part}", float, meaning, volatile=True)


COST: tuple[Column, ...] = (
    Column("gpu_seconds", float, "seconds that steps held GPUs, times their number", True),
    Column("cpu_seconds", float, "CPU time of all processes of the steps", True),
    Column(
        "tokens_in",
        int,
        "prompt tokens read by sampling, each prompt once, plus tokens read by model judges",
        True,
    ),
    Column("tokens_out", int, "tokens sampled, plus tokens written by model judges", True),
    Column("labels_by_source", str, "JSON: judge or person → verdicts on training pairs", True),
    Column(
        "money",
        float,
        "total cost of everything with a price; none where nothing has a price",
        True,
    ),
    Column(
        "money_by",
        str,
        "JSON: gpu, cpu, tokens, labels, judges (at their own prices) → money; none where the "
        "price is unknown",
        True,
    ),
    Column("currency", str, "currency of money: prices.currency", True),
    Column(
        "cost_by_step",
        str,
        "JSON: step → seconds, cpu_seconds, gpu_seconds, tokens_in, tokens_out, money",
        True,
    ),
)
"""Cost of the round. A step counts each time it ran, so attempts of a retried round add up."""

COLUMNS: tuple[Column, ...] = (
    Column("round", int, "number of the round, from 1; round 0 prepares the base policy"),
    Column("policy", str, "id of the policy this round trained: hash of its files"),
    Column("previous_policy", str, "id of the policy that sampled"),
    Column("reference_policy", str, "id of the reference; none for a loss without one"),
    Column("promoted", bool, "whether the trained policy replaced the previous one"),
    Column(
        "gate",
        str,
        "JSON: the gate's decision: action, reasons, checks (name, value, bound, passed), attempt, "
        "goes_on_from, rejected attempts, a person's answer",
    ),
    Column("prompts", int, "training prompts drawn"),
    Column("completions", int, "completions sampled for them"),
    Column("pairs", int, "preferences trained on"),
    Column("pairs_replayed", int, "those of them from other rounds"),
    Column("pairs_delta", int, "those of this round whose rejected answer is from another model"),
    Column("dropped", str, "JSON: reason → number of items dropped in the round"),
    Column(
        "loss", float, "mean loss over the last epoch, each pair measured when it was trained on"
    ),
    Column("first_loss", float, "loss of the first optimiser step (ln 2 with a reset reference)"),
    Column(
        "accuracy",
        float,
        "share of pairs with a positive margin when trained on; ties count as wrong",
    ),
    Column("margin", float, "mean chosen minus rejected log-ratio, nats, without beta"),
    Column(
        "margin_spread",
        float,
        "mean over steps of the standard deviation of margins within a step, nats",
    ),
    Column("chosen_logratio", float, "mean log(policy/reference) of chosen completions, nats"),
    Column("rejected_logratio", float, "mean log(policy/reference) of rejected completions, nats"),
    Column("implicit_reward_chosen", float, "beta times chosen_logratio"),
    Column("implicit_reward_rejected", float, "beta times rejected_logratio"),
    Column("gradient_weight", float, "mean sigmoid(-beta margin)"),
    Column("gradient_norm", float, "mean norm of the gradient before clipping"),
    Column("learning_rate", float, "mean learning rate"),
    Column(
        "entropy",
        float,
        "mean entropy of the policy on trained completions, nats per token, estimated at about 32 "
        "tokens of each optimiser step",
    ),
    Column(
        "length_correlation",
        float,
        "correlation of log-ratios with completion lengths within a step, mean",
    ),
    Column("padding_share", float, "padding as a share of the tokens that went through the model"),
    Column("steps", int, "optimiser steps"),
    Column("warnings", str, "JSON: name → message of each warning of the round"),
    Column("judges", str, "JSON: judge → its statistics: labeling.judges.behaviour.Behaviour"),
    Column(
        "labels",
        str,
        "JSON: people's labels: how they were asked, answers by mode, annotator and verdict",
    ),
    Column(
        "annotators",
        str,
        "JSON: annotator → labels, accuracy on gold pairs, consistency on repeated pairs",
    ),
    Column("agreement", str, "JSON: κ of each judge against people, α among people, shares"),
    Column(
        "calibration",
        str,
        "JSON: judge → calibration of its confidence against people's earlier answers",
    ),
    Column("audit", str, "JSON: finding → count, total, and whether it blocks"),
    *_kl("previous"),
    *_kl("reference"),
    *_kl("base"),
    *_interval("length_mean", "tokens per completion on test prompts, EOS included"),
    *_interval("truncated_share", "share of test completions cut at the length limit"),
    *_other_policies("truncated_share"),
    *_interval("empty_share", "share of test completions without a visible character"),
    *_other_policies("empty_share"),
    *_interval(
        "token_repetition",
        "mean share of a test completion's runs of 4 tokens that occurred in it before; 0 for "
        "completions of fewer tokens",
    ),
    *_other_policies("token_repetition"),
    *_interval(
        "relevance",
        "share of sampled test completions that the base's log-probs match to their own request "
        "among a few, and that are mostly not copied; none where it is not measured",
    ),
    *_other_policies("relevance"),
    *_interval(
        "relevance_change_previous", "relevance minus the previous policy's, on the same prompts"
    ),
    *_interval("relevance_change_base", "relevance minus the base policy's, on the same prompts"),
    *_interval(
        "base_nats_per_token",
        "-log p under the base per token of finished test completions",
    ),
    *_other_policies("base_nats_per_token"),
    Column(
        "relevance_counts",
        str,
        "JSON: requests compared per answer; answers, and how many of them were relevant, "
        "another_request, echo (copied from the prompt, themselves or other answers), empty, alone "
        "(no other request to compare with)",
    ),
    *_interval("score_mean", "mean judge score of test completions; none with a pairwise judge"),
    *_interval(
        "win_rate_previous", "win rate against the previous policy on test prompts, ties 0.5"
    ),
    *_interval("win_rate_base", "win rate against the base policy on test prompts, ties 0.5"),
    *_interval(
        "win_rate_gate", "win rate against the previous policy on gate prompts; decides promotion"
    ),
    *_interval(
        "win_rate_gate_base",
        "win rate against the base on gate prompts; decides rollbacks and plateaus",
    ),
    Column(
        "decided",
        str,
        "JSON: gate, previous (on test prompts), base → comparisons, decided, unjudged and "
        "unjudged_opponent (where only that side's answer could not be judged), and reasons for "
        "the undecided rest",
    ),
    *_controlled("previous", "length-controlled win_rate_previous (AlpacaEval 2)"),
    *_controlled("base", "length-controlled win_rate_base"),
    *_controlled("gate", "length-controlled win_rate_gate"),
    *_controlled(
        "gate_base",
        "length-controlled win_rate_gate_base, where the gate uses length control",
    ),
    *_interval(
        "rating",
        "Bradley-Terry strength of this round's policy in logits, with the base at 0, from matches "
        "of all policies so far on test prompts",
    ),
    Column("ratings", str, "JSON: round → {estimate, low, high} of every policy so far; 0: base"),
    Column(
        "cycles", str, "JSON: [[3, 2, 1]]: 3 beats 2, 2 beats 1 and 1 beats 3, each beyond chance"
    ),
    Column(
        "forgotten",
        str,
        "JSON: test prompts that an earlier round's policy answered better: count, compared, "
        "gained (better than all), examples, sentence; listed in forgotten.parquet",
    ),
    Column(
        "slices",
        str,
        "JSON: field=value → prompts, win_rate against the previous policy, low, high, p_value, "
        "p_adjusted (for the number of slices), flagged (worse beyond chance)",
    ),
    Column(
        "suites",
        str,
        "JSON: regression suite → prompts, answers, compared, score, low, high, before, base, "
        "change, change_low, change_high, may_fall, failed",
    ),
    *_text_columns(
        "repetition_share",
        "mean share of a test completion's runs of 4 words that occurred in it before",
    ),
    *_text_columns(
        "distinct_1", "distinct words as a share of all in test completions", interval=False
    ),
    *_text_columns(
        "distinct_2",
        "distinct runs of 2 words as a share of all in test completions",
        interval=False,
    ),
    *_text_columns(
        "self_similarity",
        "mean Jaccard similarity of runs of 2 words in two test completions, of one prompt where "
        "it has several, otherwise of different prompts",
        interval=False,
    ),
    *_text_columns(
        "refusal_share", "share of test completions matching evaluation.refusal_pattern"
    ),
    *_text_columns("training_score_mean", "mean score of test completions by the training judge"),
    *_interval(
        "training_win_rate_previous",
        "win_rate_previous by the training judge; a judge that reads pairs sees some test prompts",
    ),
    *_interval("training_win_rate_base", "win_rate_base by the training judge, likewise"),
    Column(
        "overlap",
        str,
        "JSON: held-out prompts that share a long n-gram with a training prompt of the round: "
        "prompts, of, ngram, examples",
    ),
    Column("score_mean_base", float, "score_mean of the base policy"),
    *_other_policies("length_mean"),
    Column("gate_prompts", int, "distinct gate prompts compared"),
    Column("test_prompts", int, "distinct test prompts compared"),
    _seconds("sample", "seconds to sample the training completions"),
    _seconds("judge", "seconds for scores, pairs, judgements and preferences"),
    _seconds("train", "seconds for the reference pass and optimiser steps"),
    _seconds("evaluate", "seconds to sample and compare on held-out prompts"),
    _seconds("start", "seconds to start sampling and training processes"),
    _seconds("round", "seconds of the whole round, all of the above included"),
    Column(
        "tokens_per_second", float, "sampled tokens per second of seconds_sample", volatile=True
    ),
    Column(
        "train_tokens_per_second",
        float,
        "tokens of pairs, with their prompt counted once, per second of the optimiser steps",
        volatile=True,
    ),
    Column(
        "train_flops_per_second",
        float,
        "useful floating-point operations per second of the optimiser steps",
        volatile=True,
    ),
    Column(
        "mfu",
        float,
        "train_flops_per_second as a share of the device's peak; none where the peak is unknown",
        volatile=True,
    ),
    Column("train_peak_memory_gib", float, "peak memory of the training process", volatile=True),
    *COST,
)
"""Each measure that a judge reports (a share summed over test completions) adds three
columns: `measure_<name>`, `measure_<name>_previous`, `measure_<name>_base`."""

JSON_COLUMNS = (
    "dropped",
    "warnings",
    "judges",
    "labels",
    "annotators",
    "agreement",
    "calibration",
    "audit",
    "gate",
    "ratings",
    "cycles",
    "forgotten",
    "slices",
    "suites",
    "decided",
    "relevance_counts",
    "overlap",
    "labels_by_source",
    "money_by",
    "cost_by_step",
)
"""Columns that hold mappings or lists in metrics.json, and JSON text in metrics.parquet."""

VOLATILE = frozenset(column.name for column in COLUMNS if column.volatile)


def drop_volatile(row: dict[str, Any]) -> dict[str, Any]:
    """A metrics row without volatile columns: the part that equal runs repeat."""
    return {name: value for name, value in row.items() if name not in VOLATILE}
