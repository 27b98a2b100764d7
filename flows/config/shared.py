"""What a branch shares of its campaign's config: all that decides the base policy, the held-out
prompts, and how they are answered and judged. So win rates of both can be compared."""

from flows.config import CampaignConfig, validate
from labeling.judges.config import machines
from labeling.judges.make import judge_config

_NO_EFFECT_ON_ANSWERS = {
    "samples_per_prompt",  # of training prompts
    "until_pairs",
    "budget_tokens",
    "shard_prompts",
    "keep_worker",
    "gpu_memory_utilization",
    "tensor_parallel_size",
}


def shared_config(config: CampaignConfig) -> dict[str, object]:
    """The values that branches must share for their held-out answers and verdicts to be comparable;
    judges by how they answer."""
    evaluation = ("gate_prompts", "test_prompts", "samples_per_prompt")
    return {
        **config.model_dump(mode="json", include={"seed", "threads", "policy", "sft"}),
        "prompts": config.prompts.model_dump(include={"gate_share", "test_share", "split_by"}),
        "sampling": config.sampling.model_dump(mode="json", exclude=_NO_EFFECT_ON_ANSWERS),
        "evaluation": config.evaluation.model_dump(include=set(evaluation)),
        "evaluation_judge": judge_config(config.held_out_judge),
        **_left_out_of_the_base(config),
    }


def _left_out_of_the_base(config: CampaignConfig) -> dict[str, object]:
    """A warm start leaves out the prompts that a certified gate may use."""
    if config.sft is None or config.gate.false_promotions is None:
        return {}
    return {"gate": {"false_promotions": "given"}}


def pin_evaluation_judge(before: CampaignConfig, config: CampaignConfig) -> CampaignConfig:
    """`config` with the evaluation judge of `before`, if neither config sets one and a changed
    `judge` would change it."""
    follows = before.evaluation_judge is None and config.evaluation_judge is None
    if not follows or judge_config(before.held_out_judge) == judge_config(config.held_out_judge):
        return config
    judges = [judge.model_dump(mode="json") for judge in machines(before.held_out_judge)]
    judge = judges[0] if len(judges) == 1 else {"kind": "committee", "members": judges}
    raw = {**config.model_dump(mode="json"), "evaluation_judge": judge}
    return validate(raw, "the branch's config")
