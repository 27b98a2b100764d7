"""Checks of the prompts: numbers per split, lengths, and overlap of training and held-out."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput, ConfigError
from dpo_core.find_model import find_folder
from dpo_core.hashing import normalise
from dpo_core.records import Prompt
from dpo_core.text import counted
from flows.config import CampaignConfig
from flows.config.attempts import check_rejected_rounds, first_round, rejected_models
from flows.doctor.findings import DoctorFinding, note, ok, problem
from flows.doctor.policy import has_template
from flows.evaluation.held_out import draw_evaluation_prompts
from flows.gate.power import REMEDY, count_groups, gate_power
from generation.probe_jobs import TokenCounts
from generation.prompts import read_pool
from labeling.audit.checks import CHECKS
from labeling.audit.config import FindingName

_EXAMPLE = 80


@dataclass(frozen=True)
class Pool:
    """Statistics of all prompts. duplicates: training prompts that are held out too; overlapping:
    held-out prompts that share words with a training prompt, as in `example`."""

    splits: Mapping[str, int]
    chat: bool
    held_out: int
    gate: int
    groups: int | None
    duplicates: int
    overlapping: int
    example: str


def read(config: CampaignConfig) -> Pool:
    """Read the pool twice: the held-out prompts, then all training prompts."""
    drawn = draw_evaluation_prompts(config)
    length = config.evaluation.overlap_ngram
    holders: dict[tuple[str, ...], set[str]] = {}
    for prompt in drawn.prompts:
        for words in word_ngrams(prompt, length):
            holders.setdefault(words, set()).add(prompt.prompt_id)
    held = {prompt.prompt_id for prompt in drawn.prompts}
    splits, shared, example = Counter[str](), set[str](), ""
    same, chat = 0, False
    for prompt in read_pool(config.prompts):
        splits[prompt.split] += 1
        chat = chat or prompt.messages is not None
        if prompt.split != "train":
            continue
        same += prompt.prompt_id in held
        for words in word_ngrams(prompt, length):
            if words in holders:
                shared |= holders[words]
                example = example or " ".join(words)
    gate = sum(prompt.split == "gate" for prompt in drawn.prompts)
    groups = count_groups(drawn.prompts, config)
    return Pool(dict(splits), chat, len(held), gate, groups, same, len(shared), example[:_EXAMPLE])


def word_ngrams(prompt: Prompt, length: int) -> Iterator[tuple[str, ...]]:
    """All `length` consecutive words of a prompt, ignoring case, spacing and system messages."""
    contents = [m["content"] for m in prompt.messages or () if m["role"] != "system"]
    words = normalise(prompt.text if prompt.text is not None else "\n".join(contents)).split()
    return (tuple(words[n : n + length]) for n in range(len(words) - length + 1))


def check_pool(pool: Pool, config: CampaignConfig) -> Iterator[DoctorFinding]:
    """Whether every split has prompts, and enough for rounds without repetition."""
    for split in ("train", "gate", "test"):
        if not pool.splits.get(split):
            yield problem(
                "prompts",
                f"the {split} split is empty: none of the {sum(pool.splits.values()):,} prompts "
                "falls into it",
                "prompts",
                "Give more prompts, or change prompts.gate_share and prompts.test_share.",
            )
    wanted, train = config.rounds * config.prompts.per_round, pool.splits.get("train", 0)
    if 0 < train < wanted:
        yield note(
            "prompts",
            f"{train:,} training prompts are fewer than the {wanted:,} that {config.rounds} rounds "
            "draw, so later rounds repeat prompts or have fewer",
            "prompts.per_round",
            "Give more prompts, or lower prompts.per_round.",
        )
    elif train:
        yield ok("prompts", f"{train:,} for training, {pool.held_out:,} held out", "prompts")
    yield from _check_requests(pool, config)
    if config.gate.false_promotions is not None:
        yield from _check_certified(pool.splits.get("gate", 0), pool.gate, config)


def check_power(pool: Pool, config: CampaignConfig) -> DoctorFinding:
    """Whether the gate can detect a typical round's gain."""
    power = gate_power(config, pool.gate, pool.splits.get("gate"), pool.groups)
    if power.weak:
        where = "prompts.gate_share, evaluation.gate_prompts"
        return note("gate power", power.sentence, where, REMEDY)
    return ok("gate power", power.sentence, "gate")


def _check_requests(pool: Pool, config: CampaignConfig) -> Iterator[DoctorFinding]:
    """Whether there are as many held-out prompts as relevance compares."""
    wanted = config.evaluation.requests
    if wanted is None or (config.evaluation.relevance == "auto" and not pool.chat):
        return
    if 0 < pool.held_out < wanted:
        yield note(
            "relevance",
            f"relevance compares {pool.held_out} requests instead of {wanted}, since there are no "
            "more held-out prompts; chance matches are more frequent",
            "evaluation.relevance",
            "Give more prompts, raise evaluation.gate_prompts or evaluation.test_prompts, or set "
            f"evaluation.relevance to {pool.held_out}, or to 0 to switch it off.",
        )


def _check_certified(gate: int, each: int, config: CampaignConfig) -> Iterator[DoctorFinding]:
    """Whether the gate prompts last: a certified promotion uses up `each` of them."""
    if 0 < gate < each * config.rounds:
        yield note(
            "gate prompts",
            f"{gate:,} gate prompts last for {gate // each} certified promotions of {each} prompts "
            f"each, not for {config.rounds} rounds; later promotions would not be certified",
            "prompts.gate_share, evaluation.gate_prompts",
            "Give more prompts, raise the first or lower the second.",
        )


def check_overlap(pool: Pool, config: CampaignConfig) -> DoctorFinding:
    """Whether held-out prompts are disjoint from training prompts, and share no long phrases."""
    length = config.evaluation.overlap_ngram
    if pool.duplicates:
        return problem(
            "overlap",
            f"{pool.duplicates} training prompts are held-out prompts too",
            "prompts",
            "Remove them from the pool.",
        )
    what = (
        f"{pool.overlapping} of {pool.held_out} held-out prompts share {length} consecutive words "
        "with a training prompt"
    )
    if pool.overlapping:
        return note(
            "overlap",
            f"{what}, for example: {pool.example}",
            "evaluation.overlap_ngram",
            "If they share more than a template, remove near copies, which inflate win rates.",
        )
    return ok("overlap", f"no prompt is in both; {what}", "prompts")


@dataclass(frozen=True)
class PromptRoom:
    """Room for a prompt, in tokens: `context` of prompt and answer together, less the answer's
    `max_tokens` and the engine's `reserved`. positions: the model's context, if known."""

    context: int
    max_tokens: int
    positions: int | None = None
    reserved: int = 0

    @property
    def tokens(self) -> int:
        return self.context - self.max_tokens - self.reserved

    def remedy(self, longest: int) -> str:
        """The ways to make room for a prompt of `longest` tokens."""
        ways = []
        needed = longest + self.max_tokens + self.reserved
        if needed <= (self.positions or needed):
            ways.append(f"set sampling.max_model_len to at least {needed}")
        answer = self.context - longest - self.reserved
        if answer >= 1:
            ways.append(
                f"set sampling.max_model_len: {self.context} and sampling.max_tokens to at most "
                f"{answer}"
            )
        if self.tokens >= 1:
            ways.append(f"shorten the prompts to at most {counted(self.tokens, 'token')}")
        if not ways:
            ways = [f"shorten the prompts, and set sampling.max_tokens well below {self.context}"]
        text = ", or ".join(ways)
        return f"{text[0].upper()}{text[1:]}."


def check_lengths(counts: TokenCounts, room: PromptRoom) -> DoctorFinding:
    """Whether the prompts fit. counts: the child's, of prompts longer than `room`."""
    long, count, longest = counts.too_long, counts.prompts, counts.longest
    if not long:
        what = f"the longest of {count:,} prompts has {longest} of {room.tokens} tokens"
        return ok("prompt lengths", what)
    what = (
        f"{long:,} of {count:,} prompts have more than {room.tokens} tokens (the longest "
        f"{longest:,}) and would be dropped"
    )
    if room.tokens < 1:
        verb = "exceeds" if room.max_tokens > room.context else "fills"
        whose = "the model's" if room.context == room.positions else "the"
        what = (
            f"no prompt fits: max_tokens {room.max_tokens} {verb} {whose} context of {room.context}"
        )
    elif long == count:
        what = f"no prompt fits: all have more than {room.tokens} tokens (the longest {longest:,})"
    where = "sampling.max_model_len, sampling.max_tokens"
    make = problem if long == count else note
    return make("prompt lengths", what, where, room.remedy(longest))


def check_bos(counts: TokenCounts) -> Iterator[DoctorFinding]:
    """Whether every prompt has as many BOS tokens as tokenizer and chat template intend."""
    faults: dict[FindingName, tuple[int, str]] = {
        "bos_missing": (counts.bos_missing, "lack the BOS token"),
        "bos_doubled": (counts.bos_doubled, "have one BOS token too many"),
    }
    for fault, (count, what) in faults.items():
        if count:
            sentence = f"{count:,} of {counts.prompts:,} prompts {what}"
            yield problem("bos", sentence, "prompts", CHECKS[fault].remedy)
    if not counts.bos_missing and not counts.bos_doubled:
        yield ok("bos", "every prompt has the right number of BOS tokens")


def check_draws(config: CampaignConfig, train: int) -> Iterator[DoctorFinding]:
    """The most that a round samples until it has its pairs, and whether that can be enough.

    train: number of training prompts.
    """
    goal = config.goal
    if goal is None:
        return
    full = goal.budget_tokens // goal.tokens_per_prompt
    what = (
        f"a round samples until it has {goal.pairs:,} pairs, up to about {goal.budget_tokens:,} "
        f"tokens ({full:,} prompts with all answers at full length)"
    )
    one_each = config.pairs.strategy != "all_over_margin"
    if one_each and goal.pairs > min(full, train):
        yield note(
            "draws",
            f"{what}; {min(full, train):,} prompts give at most one pair each, so rounds continue "
            "with fewer pairs",
            "sampling.until_pairs",
            "Lower sampling.until_pairs, or raise sampling.budget_tokens and give more prompts.",
        )
    else:
        yield ok("draws", what, "sampling.until_pairs")


_CHECK, _WHERE = "rejected answers", "pairs.rejected_from"


def check_rejected(
    config: CampaignConfig, layout: Layout, *, chat: bool, fetch: bool
) -> Iterator[DoctorFinding]:
    """Whether the policies and models of pairs.rejected_from exist and can answer.

    chat: prompts are messages. fetch: download models from the hub instead of skipping them.
    """
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
