"""Answers that please a judge and belong to no request, as a real base sees them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import two_things
from synthetic import Synthetic, Texts, measured

from dpo_core.campaign.artifacts import Artifact
from dpo_core.config import SftConfig
from dpo_core.gate.config import GateConfig
from dpo_core.gate.decision import Best, decide
from dpo_core.records import Prompt, Score, prompt_row
from dpo_core.schemas import COMPLETIONS, PROMPTS
from dpo_core.training.jobs import BaseJob
from dpo_core.training.warm_start.base_policy import prepare_base
from flows.read_records import read_full_scores
from flows.round_state import EvaluatedPolicy, Policy
from flows.steps.answer_relevance import answer_relevance, needs_relevance
from flows.steps.score import score
from generation.sampling import encode_prompt, load_tokenizer
from labeling.judges.config import RuleJudge
from tests.made_once import made_once

N = 96
REQUESTS = two_things.requests()[:N]
CHATS = [
    Prompt(f"p{n}", messages=({"role": "user", "content": request},), split="test")
    for n, request in enumerate(REQUESTS)
]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 0.1 million parameters that was taught the task for seven seconds."""

    def make(folder: Path) -> None:
        sft = SftConfig(
            function="two_things:trained_on", steps=300, batch_size=64, learning_rate=5e-3
        )
        job = BaseJob(
            build="two_things:build_chat",
            sft=sft,
            out_dir=folder / "policy",
            curve_path=folder / "curve.parquet",
        )
        prepare_base(job, lambda *_: None)

    return made_once(tmp_path_factory, "two things", make) / "policy"


class Asked(Synthetic):
    """Rounds whose policies only exist as answers, about which a real base is asked."""

    def __init__(self, root: Path, folder: Path, texts: Texts, **evaluation: Any) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.folder = folder
        sections = {"sampling": {"engine": "transformers", "max_tokens": 32}}
        judge = {"function": "told_by_text:length"}
        super().__init__(
            root, CHATS[: len(texts)], texts, evaluation=evaluation, judge=judge, **sections
        )

    def completion(self, number: int, prompt: str, text: str) -> dict[str, Any]:
        tokens = [*self.tokenizer(text)["input_ids"], self.tokenizer.eos_token_id]
        return {
            **super().completion(number, prompt, text or "nothing"),
            "text": text,
            "prompt_token_ids": encode_prompt(self.tokenizer, CHATS[int(prompt[1:])]),
            "token_ids": tokens,
            "token_logps": [-2.0 / len(tokens)] * len(tokens),
        }

    def _answered(self, number: int, texts: Texts, suites: Mapping[str, Texts]) -> EvaluatedPolicy:
        found = super()._answered(number, texts, suites)
        if not needs_relevance(self.session, found, self.held_out):
            return found
        base = Policy(0, "base", self.folder, found.answers)
        return replace(found, relevance=answer_relevance(self.session, found, base, self.held_out))


def by_prompt(say: Callable[[str], str]) -> Texts:
    return {f"p{n}": say(request) for n, request in enumerate(REQUESTS)}


def usual(seed: int, *, shortly: bool = False) -> Texts:
    random = Random(seed)
    return by_prompt(lambda request: two_things.answer(request, random, shortly=shortly))


def few(texts: Texts, prompts: int) -> Texts:
    return {f"p{n}": texts[f"p{n}"] for n in range(prompts)}


def hacked(share: float) -> Texts:
    """So many of the answers are well written, and to another request."""
    own = usual(0)
    others = [own[f"p{(n + 1) % N}"] for n in range(N)]
    return {f"p{n}": others[n] if n < share * N else own[f"p{n}"] for n in range(N)}


def filled_in(request: str) -> str:
    one, other = two_things.things(request)
    return f"the {one} was very great and the {other} seemed lovely to me ."


def repeated(request: str) -> str:
    return " ".join([f"the {two_things.things(request)[0]} was really"] * 6)


@pytest.fixture(scope="module")
def campaign(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    made = Asked(tmp_path_factory.mktemp("asked"), base, usual(0))
    with made.session:
        yield made


def failed(numbers: Mapping[str, Any]) -> set[str]:
    """The checks of what answers are about that a default gate fails by these numbers."""
    decision = decide(measured(numbers), GateConfig(), previous=0, best=Best(0, 0.5))
    names = {check.name for check in decision.checks if not check.passed}
    return {name for name in names if name.startswith("relevance")}


def test_the_base_knows_its_own_answers_and_those_that_are_as_good(campaign: Asked) -> None:
    numbers = campaign.play(usual(1), promoted=False)
    assert numbers["relevance_base"] == numbers["relevance_previous"] >= 0.95
    assert numbers["relevance"] >= 0.95 and failed(numbers) == set()
    assert numbers["relevance_counts"]["requests"] == 8
    assert numbers["base_nats_per_token"] == pytest.approx(
        numbers["base_nats_per_token_base"], abs=0.1
    )


def test_a_policy_that_merely_answers_shorter_passes(campaign: Asked) -> None:
    numbers = campaign.play(usual(2, shortly=True), promoted=False)
    assert numbers["length_mean"] < 0.9 * numbers["length_mean_base"]
    assert numbers["relevance"] >= 0.95 and failed(numbers) == set()


@pytest.mark.parametrize(
    ("texts", "counted", "most"),
    [
        (hacked(1.0), "another_request", 0.3),
        (hacked(0.15), "another_request", 0.9),
        (by_prompt(lambda request: request), "echo", 0.0),
        (by_prompt(repeated), "echo", 0.0),
        (by_prompt(filled_in), "echo", 0.0),
        (by_prompt(lambda _: ""), "empty", 0.0),
    ],
    ids=["hacked", "a little hacked", "copier", "repeater", "template-filler", "mute"],
)
def test_a_policy_whose_answers_belong_to_no_request_is_caught(
    campaign: Asked, texts: Texts, counted: str, most: float
) -> None:
    numbers = campaign.play(texts, promoted=False)
    assert numbers["relevance"] <= most
    assert failed(numbers) == {"relevance_to_previous", "relevance_to_base"}
    counts = numbers["relevance_counts"]
    assert counts["answers"] == N and counts["relevant"] == round(N * numbers["relevance"])
    assert counts[counted] == N - counts["relevant"]


def test_a_judge_with_relevance_pays_only_for_answers_to_their_own_requests(
    campaign: Asked, base: Path
) -> None:
    own, others = usual(1), hacked(1.0)
    wrong, mute = {f"p{n}" for n in range(24)}, {f"p{n}" for n in range(24, 32)}
    texts = {p: "" if p in mute else others[p] if p in wrong else own[p] for p in own}
    rows = [campaign.completion(50, prompt, text) for prompt, text in texts.items()]
    answers = campaign.records.write(
        50, "completions", rows, COMPLETIONS, completions=(rows, COMPLETIONS)
    )
    policy = Policy(0, "base", base, campaign.base.answers)

    def scored(**judge: Any) -> tuple[Artifact, dict[str, Score]]:
        config = RuleJudge(function="told_by_text:length", **judge)
        made = score(campaign.session, 50, answers, campaign.held_out, config, base=policy)
        assert made is not None
        found = read_full_scores(made.path("scores.parquet"))[config.source]
        return made, {i.removeprefix("50/"): one for i, one in found.items()}

    made, paid = scored(relevance=8)
    _, all_paid = scored()
    assert all((one.value or 0) > 0 for one in all_paid.values())
    lost = {p for p, one in paid.items() if one.value != all_paid[p].value}
    assert mute <= lost and len(wrong & lost) >= 0.7 * len(wrong)
    assert len(lost - wrong - mute) <= 0.05 * N
    assert {(paid[p].value, paid[p].reason) for p in wrong & lost} == {
        (0.0, "not relevant: the base places it at another request")
    }
    assert {(paid[p].value, paid[p].reason) for p in mute} == {(0.0, "not relevant: empty")}
    measured = {p: one.measures["relevant_of_asked"] for p, one in paid.items()}
    assert measured == {p: (float(p not in lost), 1.0) for p in paid}
    told = made.entry.facts["relevance"]["rule:told_by_text:length"]
    assert told["answers"] == N and told["empty"] == len(mute)
    assert told["relevant"] == N - len(lost)


def test_the_base_is_asked_once_about_its_own_answers(campaign: Asked) -> None:
    campaign.play(usual(3), promoted=False)
    made = [e for e in campaign.session.store.entries if e.step == "answer_relevance"]
    assert len([entry for entry in made if entry.round == 0]) == 1
    assert len({entry.round for entry in made}) == len(made)


def test_fewer_prompts_than_requests_are_said(base: Path, tmp_path: Path) -> None:
    with (made := Asked(tmp_path, base, few(usual(0), 6))).session:
        numbers = made.play(few(usual(1), 6))
    assert numbers["relevance_counts"]["requests"] == 6
    assert numbers["warnings"]["requests"] == (
        "Relevance is measured among 6 requests and not 8: there are no more held-out prompts."
    )


def test_it_is_asked_again_where_the_number_is_another(campaign: Asked) -> None:
    """As in a branch: its campaign's base was asked about otherwise, or not at all."""
    config = campaign.session.config
    evaluation = config.evaluation.model_copy(update={"relevance": 4})
    branch = campaign.session.with_config(config.model_copy(update={"evaluation": evaluation}))
    assert not needs_relevance(campaign.session, campaign.base, campaign.held_out)
    assert needs_relevance(branch, campaign.base, campaign.held_out)
    assert needs_relevance(branch, replace(campaign.base, relevance=None), campaign.held_out)


def test_where_it_is_off_nothing_is_asked_or_checked(base: Path, tmp_path: Path) -> None:
    with (made := Asked(tmp_path, base, usual(0), relevance=0)).session:
        numbers = made.play(hacked(1.0))
    assert not [name for name in numbers if name.startswith(("relevance", "base_nats"))]
    assert failed(numbers) == set()


@pytest.mark.parametrize(("relevance", "asked"), [("auto", False), (8, True), (None, False)])
def test_of_plain_texts_it_is_asked_only_by_a_number(
    base: Path, tmp_path: Path, relevance: object, asked: bool
) -> None:
    made = Asked(tmp_path, base, {}, relevance=relevance)
    rows = [prompt_row(Prompt("p0", text="the movie .", split="test"))]
    plain = made.records.write(1, "held_out", rows, PROMPTS, prompts=(rows, PROMPTS))
    assert needs_relevance(made.session, made.base, plain) is asked
