"""Prompts: how many there are of each split, how long they are, what train and held-out share."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput, ConfigError, RatchetError
from dpo_core.find_model import find_folder
from dpo_core.hashing import normalise
from dpo_core.records import Prompt
from flows.config import CampaignConfig
from flows.config.attempts import check_rejected_rounds, first_round, rejected_models
from flows.doctor.findings import DoctorFinding, note, ok, problem
from flows.doctor.policy import has_template
from flows.evaluation.held_out import draw_evaluation_prompts
from flows.gate.power import REMEDY, count_groups, gate_power
from generation.prompts import read_pool
from labeling.audit.checks import CHECKS
from labeling.audit.config import FindingName

_EXAMPLE = 80


@dataclass(frozen=True)
class Pool:
    """What one reading of the prompts found; `runs`: words in a row that overlap, with examples."""

    splits: Mapping[str, int]
    chat: bool
    held_out: int
    gate: int
    groups: int | None
    duplicates: int
    overlapping: int
    example: str


def read(config: CampaignConfig) -> Pool:
    """Read the pool twice: what is held out, then all that it may be trained on."""
    drawn = draw_evaluation_prompts(config)
    length = config.evaluation.overlap_ngram
    holders: dict[tuple[str, ...], set[str]] = {}
    for prompt in drawn.prompts:
        for run in runs(prompt, length):
            holders.setdefault(run, set()).add(prompt.prompt_id)
    held = {prompt.prompt_id for prompt in drawn.prompts}
    splits, shared, example = Counter[str](), set[str](), ""
    same, chat = 0, False
    for prompt in read_pool(config.prompts):
        splits[prompt.split] += 1
        chat = chat or prompt.messages is not None
        if prompt.split != "train":
            continue
        same += prompt.prompt_id in held
        for run in runs(prompt, length):
            if run in holders:
                shared |= holders[run]
                example = example or " ".join(run)
    gate = sum(prompt.split == "gate" for prompt in drawn.prompts)
    groups = count_groups(drawn.prompts, config)
    return Pool(dict(splits), chat, len(held), gate, groups, same, len(shared), example[:_EXAMPLE])


def runs(prompt: Prompt, length: int) -> Iterator[tuple[str, ...]]:
    """All runs of `length` words of a prompt, case and spacing apart; its system message apart."""
    said = [m["content"] for m in prompt.messages or () if m["role"] != "system"]
    words = normalise(prompt.text if prompt.text is not None else "\n".join(said)).split()
    return (tuple(words[n : n + length]) for n in range(len(words) - length + 1))


def check_pool(pool: Pool, config: CampaignConfig) -> Iterator[DoctorFinding]:
    """Every split has prompts, and rounds need not repeat any."""
    for split in ("train", "gate", "test"):
        if not pool.splits.get(split):
            yield problem(
                "prompts",
                f"none of the {sum(pool.splits.values()):,} prompts falls into the {split} split",
                "prompts",
                "Give more prompts, or change prompts.gate_share and prompts.test_share.",
            )
    wanted, train = config.rounds * config.prompts.per_round, pool.splits.get("train", 0)
    if 0 < train < wanted:
        yield note(
            "prompts",
            f"{train:,} prompts to train on; {config.rounds} rounds want {wanted:,}",
            "prompts.per_round",
            "Give more, or lower prompts.per_round: later rounds repeat prompts or have fewer.",
        )
    elif train:
        yield ok("prompts", f"{train:,} to train on, {pool.held_out:,} held out", "prompts")
    yield from _check_requests(pool, config)
    if config.gate.false_promotions is not None:
        yield from _check_certified(pool.splits.get("gate", 0), pool.gate, config)


def check_power(pool: Pool, config: CampaignConfig) -> DoctorFinding:
    """The gate sees what a round may gain."""
    power = gate_power(config, pool.gate, pool.splits.get("gate"), pool.groups)
    if power.weak:
        where = "prompts.gate_share, evaluation.gate_prompts"
        return note("gate power", power.sentence, where, REMEDY)
    return ok("gate power", power.sentence, "gate")


def _check_requests(pool: Pool, config: CampaignConfig) -> Iterator[DoctorFinding]:
    """Relevance looks for an answer's request among those of held-out prompts."""
    wanted = config.evaluation.requests
    if wanted is None or (config.evaluation.relevance == "auto" and not pool.chat):
        return
    if 0 < pool.held_out < wanted:
        yield note(
            "relevance",
            f"{pool.held_out} held-out prompts: the request of an answer is looked for among so "
            f"many, not {wanted}, and by chance it is found more often",
            "evaluation.relevance",
            "Give more prompts, raise evaluation.gate_prompts or evaluation.test_prompts, or set "
            f"evaluation.relevance to {pool.held_out}, or to 0 to leave it out.",
        )


def _check_certified(gate: int, each: int, config: CampaignConfig) -> Iterator[DoctorFinding]:
    """A promotion uses its gate prompts up, the next decision takes others; each: how many."""
    if 0 < gate < each * config.rounds:
        yield note(
            "gate prompts",
            f"{gate:,} gate prompts last for {gate // each} promotions at {each} each, of "
            f"{config.rounds} rounds: later ones would not be certified",
            "prompts.gate_share, evaluation.gate_prompts",
            "Give more prompts, raise the first or lower the second.",
        )


def check_overlap(pool: Pool, config: CampaignConfig) -> DoctorFinding:
    """Held-out prompts are not trained on, and share no long run of words with those that are."""
    length = config.evaluation.overlap_ngram
    if pool.duplicates:
        return problem(
            "overlap",
            f"{pool.duplicates} prompts to train on are held-out ones too",
            "prompts",
            "Remove them from the pool.",
        )
    what = (
        f"{pool.overlapping} of {pool.held_out} held-out prompts share {length} words in a row "
        "with a prompt to train on"
    )
    if pool.overlapping:
        return note(
            "overlap",
            f"{what}, for example: {pool.example}",
            "evaluation.overlap_ngram",
            "If that is more than a template, remove near copies: win rates would flatter.",
        )
    return ok("overlap", f"no prompt is in both; {what}", "prompts")


def check_lengths(found: Mapping[str, Any], room: int) -> DoctorFinding:
    """found: what the child counted; room: tokens that a prompt may have."""
    long, count, longest = found["too_long"], found["prompts"], found["longest"]
    if not long:
        return ok("prompt lengths", f"the longest of {count:,} has {longest} of {room} tokens")
    make = problem if long == count else note
    return make(
        "prompt lengths",
        f"{long:,} of {count:,} prompts have more than {room} tokens (the longest {longest:,}): "
        "they would be dropped",
        "sampling.max_model_len, sampling.max_tokens",
        "Raise the first, lower the second, or shorten the prompts.",
    )


def check_bos(found: Mapping[str, Any]) -> Iterator[DoctorFinding]:
    """Every prompt has as many BOS as tokenizer and chat template give it; found: the child's."""
    faults: dict[FindingName, str] = {
        "bos_missing": "lack the BOS",
        "bos_doubled": "have a BOS too many",
    }
    for fault, what in faults.items():
        if found[fault]:
            said = f"{found[fault]:,} of {found['prompts']:,} prompts {what}"
            yield problem("bos", said, "prompts", CHECKS[fault].remedy)
    if not found["bos_missing"] and not found["bos_doubled"]:
        yield ok("bos", "no prompt lacks a BOS or has one too many")


def unreadable(error: RatchetError) -> Sequence[DoctorFinding]:
    """Prompts that cannot be read at all."""
    return [problem("prompts", error.message, "prompts", error.remedy)]


_WHERE = "sampling.until_pairs"


def check_draws(config: CampaignConfig, train: int) -> Iterator[DoctorFinding]:
    """The most that a round samples, and whether that can be enough; train: prompts that there are
    to train on."""
    goal = config.goal
    if goal is None:
        return
    full = goal.budget_tokens // goal.tokens_per_prompt
    what = (
        f"a round draws prompts until {goal.pairs:,} pairs are there, and samples at most about "
        f"{goal.budget_tokens:,} tokens: {full:,} prompts if all answers are at full length"
    )
    if _one_each(config) and goal.pairs > min(full, train):
        yield note(
            "draws",
            f"{what}; of {min(full, train):,} prompts, each of which gives one pair at most, "
            "there are not so many",
            _WHERE,
            "Lower sampling.until_pairs, or raise sampling.budget_tokens and give more prompts: "
            "else rounds go on with fewer pairs.",
        )
    else:
        yield ok("draws", what, _WHERE)


def _one_each(config: CampaignConfig) -> bool:
    return config.pairs.strategy != "all_over_margin"


_CHECK, _WHERE = "rejected answers", "pairs.rejected_from"


def check_rejected(
    config: CampaignConfig, layout: Layout, *, chat: bool, fetch: bool
) -> Iterator[DoctorFinding]:
    """chat: prompts are messages. fetch: models on the hub are had, which otherwise nobody looks
    for."""
    try:
        check_rejected_rounds(config, first_round(layout))
    except ConfigError as error:
        yield problem(_CHECK, error.message, _WHERE, error.remedy)
    for name in rejected_models(config):
        if fetch or Path(name).is_dir():
            yield _model(name, chat=chat)


def _model(name: str, *, chat: bool) -> DoctorFinding:
    try:
        folder = find_folder(name)
    except BadInput as error:
        return problem(_CHECK, error.message, _WHERE, error.remedy)
    if chat and not has_template(folder):
        return problem(
            _CHECK,
            f"prompts are chat messages, but the tokenizer of {name} has no chat template",
            _WHERE,
            "Name a model with a chat template, or give plain `prompt` text.",
        )
    return ok(_CHECK, f"{name} answers beside the policy", _WHERE)
