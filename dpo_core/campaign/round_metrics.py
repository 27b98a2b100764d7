"""What is reported of a round: `RoundMetrics`, whose fields are the columns of metrics.parquet.

`metrics.json` of a round and `ratchet status --json` hold the same names. `previous` always means
the incumbent that sampled. Every statistic with `_low` and `_high` has a confidence interval at
`evaluation.confidence`.
"""

from pydantic import Field

from dpo_core.campaign import round_parts as parts
from dpo_core.campaign.gate_record import GateRecord
from dpo_core.campaign.metric_fields import (
    Flag,
    MetricRow,
    Number,
    Text,
    Whole,
    column,
    error_of,
    high_of,
    low_of,
    of_policy,
    unrepeated,
)


class RoundMetrics(MetricRow):
    """The numbers of a finished round; None for what was not measured.

    Besides the fields there are three numbers for each measure of the judge, a share summed over
    test completions: `measure_<name>`, `measure_<name>_previous`, `measure_<name>_base`.
    """

    round: int = Field(description="number of the round, from 1; round 0 prepares the base policy")
    policy: Text = column("id of the policy this round trained: hash of its files")
    previous_policy: Text = column("id of the policy that sampled")
    reference_policy: Text = column("id of the reference; none for a loss without one")
    promoted: Flag = column("whether the trained policy replaced the previous one")
    gate: GateRecord | None = column(
        "the gate's decision: action, reasons, checks (name, value, bound, passed), attempt, "
        "goes_on_from, rejected attempts, a person's answer"
    )
    prompts: Whole = column("training prompts drawn")
    completions: Whole = column("completions sampled for them")
    pairs: Whole = column("preferences trained on")
    pairs_replayed: Whole = column("those of them from other rounds")
    pairs_delta: Whole = column("those of this round whose rejected answer is from another model")
    dropped: dict[str, int] | None = column("reason → number of items dropped in the round")
    loss: Number = column(
        "mean loss over the last epoch, each pair measured when it was trained on"
    )
    first_loss: Number = column("loss of the first optimiser step (ln 2 with a reset reference)")
    accuracy: Number = column(
        "share of pairs with a positive margin when trained on; ties count as wrong"
    )
    margin: Number = column("mean chosen minus rejected log-ratio, nats, without beta")
    margin_spread: Number = column(
        "mean over steps of the standard deviation of margins within a step, nats"
    )
    chosen_logratio: Number = column("mean log(policy/reference) of chosen completions, nats")
    rejected_logratio: Number = column("mean log(policy/reference) of rejected completions, nats")
    implicit_reward_chosen: Number = column("beta times chosen_logratio")
    implicit_reward_rejected: Number = column("beta times rejected_logratio")
    gradient_weight: Number = column("mean sigmoid(-beta margin)")
    gradient_norm: Number = column("mean norm of the gradient before clipping")
    learning_rate: Number = column("mean learning rate")
    entropy: Number = column(
        "mean entropy of the policy on trained completions, nats per token, estimated at "
        "about 32 tokens of each optimiser step"
    )
    length_correlation: Number = column(
        "correlation of log-ratios with completion lengths within a step, mean"
    )
    padding_share: Number = column("padding as a share of the tokens that went through the model")
    steps: Whole = column("optimiser steps")
    warnings: dict[str, str] | None = column("name → message of each warning of the round")
    judges: dict[str, parts.JudgeNumbers] | None = column(
        "judge → its statistics: labeling.judges.behaviour.Behaviour"
    )
    labels: parts.LabelNumbers | None = column(
        "people's labels: how they were asked, answers by mode, annotator and verdict"
    )
    annotators: dict[str, parts.Part] | None = column(
        "annotator → labels, accuracy on gold pairs, consistency on repeated pairs"
    )
    agreement: parts.AgreementNumbers | None = column(
        "κ of each judge against people, α among people, shares"
    )
    calibration: dict[str, parts.Part] | None = column(
        "judge → calibration of its confidence against people's earlier answers"
    )
    audit: dict[str, parts.FindingNumbers] | None = column(
        "finding → count, total, and whether it blocks"
    )
    kl_previous_nats: Number = column(
        "KL(policy || previous), nats per completion, on test prompts"
    )
    kl_previous_nats_low: Number = low_of("kl_previous_nats")
    kl_previous_nats_high: Number = high_of("kl_previous_nats")
    kl_previous_nats_se: Number = error_of("kl_previous_nats")
    kl_previous_nats_per_token: Number = column(
        "kl_previous_nats per token: sum over completions divided by their tokens"
    )
    kl_previous_nats_per_token_low: Number = low_of("kl_previous_nats_per_token")
    kl_previous_nats_per_token_high: Number = high_of("kl_previous_nats_per_token")
    kl_previous_nats_per_token_se: Number = error_of("kl_previous_nats_per_token")
    kl_reference_nats: Number = column(
        "KL(policy || reference), nats per completion, on test prompts"
    )
    kl_reference_nats_low: Number = low_of("kl_reference_nats")
    kl_reference_nats_high: Number = high_of("kl_reference_nats")
    kl_reference_nats_se: Number = error_of("kl_reference_nats")
    kl_reference_nats_per_token: Number = column(
        "kl_reference_nats per token: sum over completions divided by their tokens"
    )
    kl_reference_nats_per_token_low: Number = low_of("kl_reference_nats_per_token")
    kl_reference_nats_per_token_high: Number = high_of("kl_reference_nats_per_token")
    kl_reference_nats_per_token_se: Number = error_of("kl_reference_nats_per_token")
    kl_base_nats: Number = column("KL(policy || base), nats per completion, on test prompts")
    kl_base_nats_low: Number = low_of("kl_base_nats")
    kl_base_nats_high: Number = high_of("kl_base_nats")
    kl_base_nats_se: Number = error_of("kl_base_nats")
    kl_base_nats_per_token: Number = column(
        "kl_base_nats per token: sum over completions divided by their tokens"
    )
    kl_base_nats_per_token_low: Number = low_of("kl_base_nats_per_token")
    kl_base_nats_per_token_high: Number = high_of("kl_base_nats_per_token")
    kl_base_nats_per_token_se: Number = error_of("kl_base_nats_per_token")
    length_mean: Number = column("tokens per completion on test prompts, EOS included")
    length_mean_low: Number = low_of("length_mean")
    length_mean_high: Number = high_of("length_mean")
    truncated_share: Number = column("share of test completions cut at the length limit")
    truncated_share_low: Number = low_of("truncated_share")
    truncated_share_high: Number = high_of("truncated_share")
    truncated_share_previous: Number = of_policy("truncated_share", "previous")
    truncated_share_base: Number = of_policy("truncated_share", "base")
    empty_share: Number = column("share of test completions without a visible character")
    empty_share_low: Number = low_of("empty_share")
    empty_share_high: Number = high_of("empty_share")
    empty_share_previous: Number = of_policy("empty_share", "previous")
    empty_share_base: Number = of_policy("empty_share", "base")
    token_repetition: Number = column(
        "mean share of a test completion's runs of 4 tokens that occurred in it before; 0 for"
        " completions of fewer tokens"
    )
    token_repetition_low: Number = low_of("token_repetition")
    token_repetition_high: Number = high_of("token_repetition")
    token_repetition_previous: Number = of_policy("token_repetition", "previous")
    token_repetition_base: Number = of_policy("token_repetition", "base")
    relevance: Number = column(
        "share of sampled test completions that the base's log-probs match to their own "
        "request among a few, and that are mostly not copied; none where it is not measured"
    )
    relevance_low: Number = low_of("relevance")
    relevance_high: Number = high_of("relevance")
    relevance_previous: Number = of_policy("relevance", "previous")
    relevance_base: Number = of_policy("relevance", "base")
    relevance_change_previous: Number = column(
        "relevance minus the previous policy's, on the same prompts"
    )
    relevance_change_previous_low: Number = low_of("relevance_change_previous")
    relevance_change_previous_high: Number = high_of("relevance_change_previous")
    relevance_change_base: Number = column("relevance minus the base policy's, on the same prompts")
    relevance_change_base_low: Number = low_of("relevance_change_base")
    relevance_change_base_high: Number = high_of("relevance_change_base")
    base_nats_per_token: Number = column(
        "-log p under the base per token of finished test completions"
    )
    base_nats_per_token_low: Number = low_of("base_nats_per_token")
    base_nats_per_token_high: Number = high_of("base_nats_per_token")
    base_nats_per_token_previous: Number = of_policy("base_nats_per_token", "previous")
    base_nats_per_token_base: Number = of_policy("base_nats_per_token", "base")
    relevance_counts: dict[str, int] | None = column(
        "requests compared per answer; answers, and how many of them were relevant, "
        "another_request, echo (copied from the prompt, themselves or other answers), empty, "
        "alone (no other request to compare with)"
    )
    score_mean: Number = column("mean judge score of test completions; none with a pairwise judge")
    score_mean_low: Number = low_of("score_mean")
    score_mean_high: Number = high_of("score_mean")
    win_rate_previous: Number = column(
        "win rate against the previous policy on test prompts, ties 0.5"
    )
    win_rate_previous_low: Number = low_of("win_rate_previous")
    win_rate_previous_high: Number = high_of("win_rate_previous")
    win_rate_base: Number = column("win rate against the base policy on test prompts, ties 0.5")
    win_rate_base_low: Number = low_of("win_rate_base")
    win_rate_base_high: Number = high_of("win_rate_base")
    win_rate_gate: Number = column(
        "win rate against the previous policy on gate prompts; decides promotion"
    )
    win_rate_gate_low: Number = low_of("win_rate_gate")
    win_rate_gate_high: Number = high_of("win_rate_gate")
    win_rate_gate_base: Number = column(
        "win rate against the base on gate prompts; decides rollbacks and plateaus"
    )
    win_rate_gate_base_low: Number = low_of("win_rate_gate_base")
    win_rate_gate_base_high: Number = high_of("win_rate_gate_base")
    decided: dict[str, parts.DecidedNumbers] | None = column(
        "gate, previous (on test prompts), base → comparisons, decided, unjudged and "
        "unjudged_opponent (where only that side's answer could not be judged), and reasons "
        "for the undecided rest"
    )
    lc_win_rate_previous: Number = column("length-controlled win_rate_previous (AlpacaEval 2)")
    lc_win_rate_previous_low: Number = low_of("lc_win_rate_previous")
    lc_win_rate_previous_high: Number = high_of("lc_win_rate_previous")
    lc_win_rate_previous_extrapolated: Flag = column(
        "whether fewer than 5 % of the comparisons of lc_win_rate_previous lie on one side of"
        " equal length"
    )
    lc_win_rate_base: Number = column("length-controlled win_rate_base")
    lc_win_rate_base_low: Number = low_of("lc_win_rate_base")
    lc_win_rate_base_high: Number = high_of("lc_win_rate_base")
    lc_win_rate_base_extrapolated: Flag = column(
        "whether fewer than 5 % of the comparisons of lc_win_rate_base lie on one side of "
        "equal length"
    )
    lc_win_rate_gate: Number = column("length-controlled win_rate_gate")
    lc_win_rate_gate_low: Number = low_of("lc_win_rate_gate")
    lc_win_rate_gate_high: Number = high_of("lc_win_rate_gate")
    lc_win_rate_gate_extrapolated: Flag = column(
        "whether fewer than 5 % of the comparisons of lc_win_rate_gate lie on one side of "
        "equal length"
    )
    lc_win_rate_gate_base: Number = column(
        "length-controlled win_rate_gate_base, where the gate uses length control"
    )
    lc_win_rate_gate_base_low: Number = low_of("lc_win_rate_gate_base")
    lc_win_rate_gate_base_high: Number = high_of("lc_win_rate_gate_base")
    lc_win_rate_gate_base_extrapolated: Flag = column(
        "whether fewer than 5 % of the comparisons of lc_win_rate_gate_base lie on one side "
        "of equal length"
    )
    rating: Number = column(
        "Bradley-Terry strength of this round's policy in logits, with the base at 0, from "
        "matches of all policies up to this round on test prompts; later rounds rate it again, in "
        "ratings"
    )
    rating_low: Number = low_of("rating")
    rating_high: Number = high_of("rating")
    ratings: dict[str, parts.Estimate] | None = column(
        "round → {estimate, low, high} of every policy up to this round; 0: base. The last "
        "round's are shown"
    )
    cycles: list[list[int]] | None = column(
        "[[3, 2, 1]]: 3 beats 2, 2 beats 1 and 1 beats 3, each beyond chance"
    )
    forgotten: parts.ForgottenNumbers | None = column(
        "test prompts that an earlier round's policy answered better: count, compared, gained"
        " (better than all), examples, sentence; listed in forgotten.parquet"
    )
    slices: dict[str, parts.SliceNumbers] | None = column(
        "field=value → prompts, win_rate against the previous policy, low, high, p_value, "
        "p_adjusted (for the number of slices), flagged (worse beyond chance)"
    )
    suites: dict[str, parts.SuiteNumbers] | None = column(
        "regression suite → prompts, answers, compared, score, low, high, before, base, "
        "change, change_low, change_high, may_fall, failed"
    )
    repetition_share: Number = column(
        "mean share of a test completion's runs of 4 words that occurred in it before"
    )
    repetition_share_low: Number = low_of("repetition_share")
    repetition_share_high: Number = high_of("repetition_share")
    repetition_share_base: Number = of_policy("repetition_share", "base")
    distinct_1: Number = column("distinct words as a share of all in test completions")
    distinct_1_base: Number = of_policy("distinct_1", "base")
    distinct_2: Number = column("distinct runs of 2 words as a share of all in test completions")
    distinct_2_base: Number = of_policy("distinct_2", "base")
    self_similarity: Number = column(
        "mean Jaccard similarity of runs of 2 words in two test completions, of one prompt "
        "where it has several, otherwise of different prompts"
    )
    self_similarity_base: Number = of_policy("self_similarity", "base")
    refusal_share: Number = column("share of test completions matching evaluation.refusal_pattern")
    refusal_share_low: Number = low_of("refusal_share")
    refusal_share_high: Number = high_of("refusal_share")
    refusal_share_base: Number = of_policy("refusal_share", "base")
    training_score_mean: Number = column("mean score of test completions by the training judge")
    training_score_mean_low: Number = low_of("training_score_mean")
    training_score_mean_high: Number = high_of("training_score_mean")
    training_score_mean_base: Number = of_policy("training_score_mean", "base")
    training_win_rate_previous: Number = column(
        "win_rate_previous by the training judge; a judge that reads pairs sees some test prompts"
    )
    training_win_rate_previous_low: Number = low_of("training_win_rate_previous")
    training_win_rate_previous_high: Number = high_of("training_win_rate_previous")
    training_win_rate_base: Number = column("win_rate_base by the training judge, likewise")
    training_win_rate_base_low: Number = low_of("training_win_rate_base")
    training_win_rate_base_high: Number = high_of("training_win_rate_base")
    overlap: parts.OverlapNumbers | None = column(
        "held-out prompts that share a long n-gram with a training prompt of the round: "
        "prompts, of, ngram, examples"
    )
    score_mean_base: Number = of_policy("score_mean", "base")
    length_mean_previous: Number = of_policy("length_mean", "previous")
    length_mean_base: Number = of_policy("length_mean", "base")
    gate_prompts: Whole = column("distinct gate prompts compared")
    test_prompts: Whole = column("distinct test prompts compared")
    seconds_sample: Number = unrepeated("seconds to sample the training completions")
    seconds_judge: Number = unrepeated("seconds for scores, pairs, judgements and preferences")
    seconds_train: Number = unrepeated("seconds for the reference pass and optimiser steps")
    seconds_evaluate: Number = unrepeated("seconds to sample and compare on held-out prompts")
    seconds_start: Number = unrepeated("seconds to start sampling and training processes")
    seconds_round: Number = unrepeated("seconds of the whole round, all of the above included")
    tokens_per_second: Number = unrepeated("sampled tokens per second of seconds_sample")
    train_tokens_per_second: Number = unrepeated(
        "tokens of pairs, with their prompt counted once, per second of the optimiser steps"
    )
    train_flops_per_second: Number = unrepeated(
        "useful floating-point operations per second of the optimiser steps"
    )
    mfu: Number = unrepeated(
        "train_flops_per_second as a share of the device's peak, which the campaign's first round "
        "measures on a CPU (before 0.2, each round anew); none where the peak is unknown"
    )
    train_peak_memory_gib: Number = unrepeated("peak memory of the training process")
    gpu_seconds: Number = unrepeated("seconds that steps held GPUs, times their number")
    cpu_seconds: Number = unrepeated("CPU time of all processes of the steps")
    tokens_in: Whole = unrepeated(
        "prompt tokens read by sampling, each prompt once, plus tokens read by model judges"
    )
    tokens_out: Whole = unrepeated("tokens sampled, plus tokens written by model judges")
    labels_by_source: dict[str, int] | None = unrepeated(
        "judge or person → verdicts on training pairs"
    )
    money: Number = unrepeated(
        "total cost of everything with a price; none where nothing has a price"
    )
    money_by: dict[str, Number] | None = unrepeated(
        "gpu, cpu, tokens, labels, judges (at their own prices) → money; none where the price"
        " is unknown"
    )
    currency: Text = unrepeated("currency of money: prices.currency")
    cost_by_step: dict[str, parts.StepCost] | None = unrepeated(
        "step → seconds, cpu_seconds, gpu_seconds, tokens_in, tokens_out, money"
    )

    @property
    def decision(self) -> str:
        """The gate's decision in a sentence, which is no column; empty in older campaigns."""
        return str((self.model_extra or {}).get("decision") or "")

    @property
    def at_gate(self) -> GateRecord:
        """What was recorded of the gate; nothing in older campaigns."""
        return self.gate or GateRecord()
