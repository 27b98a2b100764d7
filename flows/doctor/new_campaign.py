"""Quick checks of a new campaign: sizes of its pool, its rules, a hub model, room for prompts.

They load no model library. A campaign that has begun has been through all of this.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from dpo_core.campaign.layout import Layout
from dpo_core.errors import RatchetError
from dpo_core.find_model import check_on_hub
from dpo_core.install_hint import page
from dpo_core.model_shape import read_shape
from dpo_core.records import Prompt, Split
from flows.config import CampaignConfig
from flows.doctor.findings import DoctorFinding, problem
from flows.doctor.policy import local_policy
from flows.doctor.prompts import PromptRoom
from generation.config import PromptsConfig
from generation.prompts import count_splits, read_pool
from labeling.judges.config import RuleJudge, members
from labeling.judges.rules import probe_rule

_PROBED = 2
_TOKENISED = 100
_HIGHEST_RATE = 0.1


def check_new_campaign(config: CampaignConfig, layout: Layout) -> Iterator[DoctorFinding]:
    """Problems alone; none for a campaign that has begun."""
    if any(layout.round(0).glob("held_out-*")):
        return
    yield from check_rate(config)
    if config.prompts.path is not None:
        yield from check_sizes(config, count_splits(config.prompts))
    yield from check_rules(config)
    yield from check_hub_model(config)
    yield from check_room(config)


def check_rate(config: CampaignConfig) -> Iterator[DoctorFinding]:
    rate = config.training.learning_rate
    if isinstance(rate, float | int) and rate > _HIGHEST_RATE:
        yield problem(
            "learning rate",
            f"training.learning_rate {rate:g} would move each weight by about {rate:g} per step, "
            "which destroys any model",
            "training.learning_rate",
            "Set training.learning_rate to auto, or to a value such as 1e-5.",
        )


def check_sizes(config: CampaignConfig, splits: Mapping[Split, int]) -> Iterator[DoctorFinding]:
    """Whether the pool has the prompts that the config asks for. Defaults take what there is, and
    so does a folder, to which prompts are added later.

    splits: split → number of prompts.
    """
    prompts, held_out = config.prompts, config.evaluation
    asked: dict[Split, tuple[str, int | Literal["auto"]]] = {}
    if "per_round" in prompts.model_fields_set and prompts.reuse and config.goal is None:
        asked["train"] = ("prompts.per_round", prompts.per_round)
    if "gate_prompts" in held_out.model_fields_set:
        asked["gate"] = ("evaluation.gate_prompts", held_out.gate_prompts)
    if "test_prompts" in held_out.model_fields_set:
        asked["test"] = ("evaluation.test_prompts", held_out.test_prompts)
    grows = Path(prompts.path or "").is_dir()
    for split, (key, wanted) in asked.items():
        there = splits.get(split, 0)
        if isinstance(wanted, int) and wanted > there > 0 and not grows:
            yield problem(
                "prompts",
                f"{key} {wanted:,} is more than the {there:,} {split} prompts of "
                f"{sum(splits.values()):,} in {prompts.path}",
                key,
                f"Set {key} to at most {there}, or give more prompts.",
            )


def check_rules(config: CampaignConfig) -> Iterator[DoctorFinding]:
    """Whether each rule gives an answer for each of two made-up items."""
    if config.prompts.dataset is None:  # which may be on the hub
        for key in ("judge", "evaluation_judge"):
            section = getattr(config, key)
            for judge in members(section) if section is not None else ():
                if isinstance(judge, RuleJudge):
                    yield from _probe(key, judge, config.prompts)
    for name, suite in config.evaluation.own_suites.items():
        prompts = PromptsConfig(path=suite.prompts, field=suite.field)
        yield from _probe(f"evaluation.suites.{name}.judge", suite.judge, prompts)


def _probe(key: str, judge: RuleJudge, prompts: PromptsConfig) -> Iterator[DoctorFinding]:
    fault = probe_rule(judge, list(islice(read_pool(prompts), _PROBED)))
    if fault is not None:
        yield problem(
            "judges",
            f"{key}.function {judge.function} was tried on made-up answers: {fault}",
            f"{key}.function",
            f"Return one answer for each item of the list, as {page('judges.md')} says.",
        )


def check_hub_model(config: CampaignConfig) -> Iterator[DoctorFinding]:
    """Whether a policy that is no folder is on the hub, which other machines ask for themselves."""
    model = config.policy.model
    if model is None or local_policy(config) is not None or config.compute.address is not None:
        return
    try:
        check_on_hub(model, config.policy.revision)
    except RatchetError as error:
        yield problem("policy", f"policy.model: {error.message}", "policy.model", error.remedy)


def check_room(config: CampaignConfig) -> Iterator[DoctorFinding]:
    """Whether any of the first prompts leaves room for an answer; chat templates, which take more,
    are not counted."""
    folder = local_policy(config)
    shape = read_shape(folder) if folder is not None else None
    positions = shape.positions if shape is not None else None
    context = min(filter(None, (config.sampling.max_model_len, positions)), default=None)
    if folder is None or context is None or config.prompts.path is None:
        return
    if config.sampling.max_tokens >= context:  # which check_length reports
        return
    reserved = int(config.sampling.engine == "vllm")  # it needs room for one more token
    room = PromptRoom(context, config.sampling.max_tokens, positions, reserved)
    lengths = _count_tokens(folder / "tokenizer.json", config.prompts)
    if lengths and room.tokens < min(lengths):
        yield problem(
            "prompt lengths",
            f"no prompt fits: sampling.max_tokens {room.max_tokens} leaves {max(room.tokens, 0)} "
            f"tokens of the context of {context} for it, and the shortest of the first "
            f"{len(lengths)} has {min(lengths)}",
            "sampling.max_tokens",
            room.remedy(max(lengths)),
        )


def _count_tokens(tokenizer: Path, prompts: PromptsConfig) -> Sequence[int]:
    """Tokens of the first prompts; none where the tokenizer is of another kind."""
    from tokenizers import Tokenizer

    try:
        read = Tokenizer.from_file(str(tokenizer))
    except Exception:  # of the Rust library, for a missing file as well as for its content
        return ()
    texts = map(_contents, islice(read_pool(prompts), _TOKENISED))
    return [len(read.encode(text, add_special_tokens=False).ids) for text in texts]


def _contents(prompt: Prompt) -> str:
    return prompt.text or "".join(message["content"] for message in prompt.messages or ())
