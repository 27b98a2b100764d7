"""What is reported of a round: the columns of metrics.parquet, in order, with their meaning.

`metrics.json` of a round and `ratchet status --json` hold the same names. `previous` always means
the policy that was promoted last. Every statistic with `_low` and `_high` has a confidence
interval at `evaluation.confidence`.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """A column of metrics.parquet. volatile: it cannot repeat between equal runs."""

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
    said = f"whether fewer than 5 % of the comparisons of {name} lie on one side of equal length"
    return [*_interval(name, meaning), Column(f"{name}_extrapolated", bool, said)]


def _kl(other: str) -> list[Column]:
    """Distances from the policy to another, on the policy's own test completions."""
    per_token = "over all tokens of those completions"
    return [
        *_interval(
            f"kl_{other}_nats",
            f"KL(policy || {other}), nats per completion, on test prompts",
            se=True,
        ),
        *_interval(
            f"kl_{other}_nats_per_token", f"kl_{other}_nats per token: a ratio {per_token}", se=True
        ),
    ]


def _of_others(name: str) -> list[Column]:
    return [
        Column(f"{name}_previous", float, f"{name} of the previous policy"),
        Column(f"{name}_base", float, f"{name} of the base policy"),
    ]


def _of_texts(name: str, meaning: str, *, interval: bool = True) -> list[Column]:
    """What the answers to the test prompts are like, and the base's beside it."""
    own = _interval(name, meaning) if interval else [Column(name, float, meaning)]
    return [*own, Column(f"{name}_base", float, f"{name} of the base policy")]


COST: tuple[Column, ...] = (
    Column("gpu_seconds", float, "seconds that steps held GPUs, times their number", True),
    Column("cpu_seconds", float, "CPU time of all processes that steps ran in", True),
    Column(
        "tokens_in",
        int,
        "tokens read to answer prompts, each prompt once, and by language models that judge",
        True,
    ),
    Column("tokens_out", int, "tokens sampled, and written by language models that judge", True),
    Column("labels_by_source", str, "JSON: judge or person → verdicts on training pairs", True),
    Column("money", float, "what all that has a price cost; none where nothing has one", True),
    Column(
        "money_by",
        str,
        "JSON: gpu, cpu, tokens, labels, judges (at prices of their own) → money, none where the "
        "price of what was used is unknown",
        True,
    ),
    Column("currency", str, "of money, as prices.currency says", True),
    Column(
        "cost_by_step",
        str,
        "JSON: step → seconds, cpu_seconds, gpu_seconds, tokens_in, tokens_out, money",
        True,
    ),
)
"""What the round cost; a step counts each time it was made, as when a round is tried again."""

COLUMNS: tuple[Column, ...] = (
    Column("round", int, "number of the round, from 1; round 0 prepares the base policy"),
    Column("policy", str, "id of the policy this round trained: hash of its files"),
    Column("previous_policy", str, "id of the policy that sampled"),
    Column("reference_policy", str, "id of the reference; none for a loss without one"),
    Column("promoted", bool, "whether the trained policy replaced the previous one"),
    Column(
        "gate",
        str,
        "JSON: what the gate decided: action, reasons, checks (name, value, bound, passed), "
        "attempt, goes_on_from, the attempts tried before, a person's answer",
    ),
    Column("prompts", int, "training prompts drawn"),
    Column("completions", int, "completions sampled for them"),
    Column("pairs", int, "preferences trained on"),
    Column("pairs_replayed", int, "those of other rounds among them"),
    Column("pairs_delta", int, "those of this round whose rejected answer is another model's"),
    Column("dropped", str, "JSON: reason → count of all that was dropped in the round"),
    Column("loss", float, "mean loss over the last epoch's pairs, each when it was trained on"),
    Column("first_loss", float, "loss of the first optimiser step (ln 2 with a reset reference)"),
    Column(
        "accuracy",
        float,
        "share of pairs with a positive margin when trained on; ties count as not",
    ),
    Column("margin", float, "mean chosen minus rejected log-ratio, nats, without beta"),
    Column("margin_spread", float, "standard deviation of margins within a step, nats, mean"),
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
        "mean entropy of the policy at tokens of the trained completions, nats per token, "
        "estimated at some 32 tokens of each optimiser step",
    ),
    Column(
        "length_correlation", float, "correlation of log-ratios with completion lengths in a step"
    ),
    Column("padding_share", float, "share of the tokens through the model that are padding"),
    Column("steps", int, "optimiser steps"),
    Column("warnings", str, "JSON: name → sentence of what the round's steps warn of"),
    Column("judges", str, "JSON: judge → what it did: labeling.judges.behaviour.Behaviour"),
    Column("labels", str, "JSON: how people were asked, answers by mode, annotator and verdict"),
    Column("annotators", str, "JSON: person → labels, accuracy on known pairs, on repeated ones"),
    Column("agreement", str, "JSON: κ of each judge against people, α among people, shares"),
    Column("calibration", str, "JSON: judge → how its confidence fits people's earlier answers"),
    Column("audit", str, "JSON: finding → how many, of how many, and whether it blocks"),
    *_kl("previous"),
    *_kl("reference"),
    *_kl("base"),
    *_interval("length_mean", "tokens per completion on test prompts, EOS included"),
    *_interval("truncated_share", "share of test completions cut at the length limit"),
    *_of_others("truncated_share"),
    *_interval("empty_share", "share of test completions without a visible character"),
    *_of_others("empty_share"),
    *_interval(
        "token_repetition",
        "share of a test completion's runs of 4 tokens that stood in it before, mean; 0 for those "
        "of fewer tokens",
    ),
    *_of_others("token_repetition"),
    *_interval(
        "relevance",
        "share of some test completions whose own request, among a few, the base finds by its "
        "log-probs, and that are mostly no copies; none where it is not asked",
    ),
    *_of_others("relevance"),
    *_interval(
        "relevance_change_previous", "relevance minus the previous policy's, on the same prompts"
    ),
    *_interval("relevance_change_base", "relevance minus the base policy's, on the same prompts"),
    *_interval(
        "base_nats_per_token",
        "-log p under the base, per token of those completions that are finished",
    ),
    *_of_others("base_nats_per_token"),
    Column(
        "relevance_counts",
        str,
        "JSON: requests, among which was looked; answers, and how many of them were relevant, "
        "another_request's, an echo (of the prompt, of themselves, of other answers), empty, "
        "alone (there was no other request)",
    ),
    *_interval("score_mean", "mean judge score of test completions; none with a pairwise judge"),
    *_interval(
        "win_rate_previous", "win rate against the previous policy on test prompts, ties 0.5"
    ),
    *_interval("win_rate_base", "win rate against the base policy on test prompts, ties 0.5"),
    *_interval(
        "win_rate_gate", "win rate against the previous policy on gate prompts: decides promotion"
    ),
    *_interval(
        "win_rate_gate_base",
        "win rate against the base on gate prompts: where a rollback goes, what a plateau is",
    ),
    Column(
        "decided",
        str,
        "JSON: gate, previous (on test prompts), base → comparisons, decided, unjudged and "
        "unjudged_opponent (answers of either side that alone could not be judged), why the others "
        "were not decided",
    ),
    *_controlled("previous", "win_rate_previous as it would be at equal lengths (AlpacaEval 2)"),
    *_controlled("base", "win_rate_base as it would be at equal lengths"),
    *_controlled("gate", "win_rate_gate as it would be at equal lengths"),
    *_controlled(
        "gate_base",
        "win_rate_gate_base as it would be at equal lengths, where the gate goes by such",
    ),
    *_interval(
        "rating",
        "Bradley-Terry strength of this round's policy, logits, the base at 0, from the matches of "
        "all rounds' policies so far on test prompts",
    ),
    Column("ratings", str, "JSON: round → {estimate, low, high} of every policy so far; 0: base"),
    Column("cycles", str, "JSON: [[3, 2, 1]]: 3 beats 2, 2 beats 1 and 1 beats 3, each clearly"),
    Column(
        "forgotten",
        str,
        "JSON: test prompts that an earlier round's policy answered better: count, of how many "
        "compared, gained (better than all), examples, sentence; listed in forgotten.parquet",
    ),
    Column(
        "slices",
        str,
        "JSON: field=value → prompts, win_rate against the previous policy, low, high, p_value, "
        "p_adjusted, flagged: worse, with care for the number of slices",
    ),
    Column(
        "suites",
        str,
        "JSON: regression suite → prompts, answers, compared, score, low, high, before, base, "
        "change, change_low, change_high, may_fall, failed",
    ),
    *_of_texts(
        "repetition_share",
        "share of a test completion's runs of 4 words that stood in it before, mean",
    ),
    *_of_texts(
        "distinct_1", "distinct words as a share of all in test completions", interval=False
    ),
    *_of_texts(
        "distinct_2",
        "distinct runs of 2 words as a share of all in test completions",
        interval=False,
    ),
    *_of_texts(
        "self_similarity",
        "runs of 2 words that two test completions share, as a share of those of either, mean; of "
        "one prompt where it has several, otherwise of different prompts",
        interval=False,
    ),
    *_of_texts("refusal_share", "share of test completions that match evaluation.refusal_pattern"),
    *_of_texts("training_score_mean", "mean score of test completions by the training judge"),
    *_interval(
        "training_win_rate_previous",
        "win_rate_previous by the training judge; of one that reads pairs, on some test prompts",
    ),
    *_interval("training_win_rate_base", "win_rate_base by the training judge, likewise"),
    Column(
        "overlap",
        str,
        "JSON: held-out prompts that share a long n-gram with a training prompt of the round: "
        "prompts, of, ngram, examples",
    ),
    Column("score_mean_base", float, "score_mean of the base policy"),
    *_of_others("length_mean"),
    Column("gate_prompts", int, "distinct gate prompts compared"),
    Column("test_prompts", int, "distinct test prompts compared"),
    Column("seconds_sample", float, "sampling the training completions", volatile=True),
    Column("seconds_judge", float, "scores, pairs, judgements and preferences", volatile=True),
    Column("seconds_train", float, "reference pass and optimiser steps", volatile=True),
    Column("seconds_evaluate", float, "sampling and comparing on held-out prompts", volatile=True),
    Column("seconds_start", float, "start of the sampling and training processes", volatile=True),
    Column("seconds_round", float, "the whole round, all of the above included", volatile=True),
    Column(
        "tokens_per_second", float, "sampled tokens per second of seconds_sample", volatile=True
    ),
    Column(
        "train_tokens_per_second",
        float,
        "tokens of pairs, their prompt once, per second of the optimiser steps",
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
        "train_flops_per_second as a share of what the device can do; none where that is unknown",
        volatile=True,
    ),
    Column("train_peak_memory_gib", float, "most memory of the training process", volatile=True),
    *COST,
)
"""Besides these there are three columns for each measure the judge reports (a share summed over
test completions): `measure_<name>`, `measure_<name>_previous`, `measure_<name>_base`."""

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
"""Columns that are mappings or lists in metrics.json and JSON text in metrics.parquet."""

VOLATILE = frozenset(column.name for column in COLUMNS if column.volatile)


def drop_volatile(row: dict[str, Any]) -> dict[str, Any]:
    """The part of a metrics row that equal runs repeat."""
    return {name: value for name, value in row.items() if name not in VOLATILE}
