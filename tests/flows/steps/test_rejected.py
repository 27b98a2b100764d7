"""A round whose rejected answers are another's: whose they are, in which tokens, and what the
training checks of them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_campaign import CONFIG, Campaign

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.tables import read_rows
from examples.reviews.grammar import WORDS
from flows.config import validate
from flows.draws import AnswerSources
from flows.round import sample_and_judge
from flows.round_state import Other, Policy, RoundPreferences, RoundRecord
from flows.session import Session
from flows.steps.round_row import round_row
from flows.steps.train import train
from reporting.progress import CampaignProgress

SAMPLES = 2
Judged = Callable[..., tuple[RoundPreferences, Policy]]


def write_other(folder: Path) -> None:
    """An untrained model of another size that counts its words from the other end."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    names = ["<end>", "<pad>", "<unk>", *sorted(set(WORDS), reverse=True)]
    words = Tokenizer(WordLevel({name: n for n, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokens = {"eos_token": "<end>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **tokens).save_pretrained(folder)
    torch.manual_seed(1)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    ends = {"eos_token_id": 0, "pad_token_id": 1, "bos_token_id": None}
    config = LlamaConfig(vocab_size=len(names), **shape, **heads, **ends)
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture
def judge(copy: Campaign, monkeypatch: pytest.MonkeyPatch) -> Judged:
    """Round 3 as far as its preferences, and if `trained` its training."""
    monkeypatch.syspath_prepend(copy.folder)

    def made(
        other: Other, trained: bool = False, **sections: Any
    ) -> tuple[RoundPreferences, Policy]:
        named = str(other) if isinstance(other, Path) else {"round": 0}
        pairs = {"rejected_from": named, "truncated": "reject"}
        prompts = {"path": str(copy.folder / "prompts.jsonl"), "per_round": 12}
        sampling = {**CONFIG["sampling"], "samples_per_prompt": SAMPLES}
        raw = {**CONFIG, "rounds": 3, "prompts": prompts, "sampling": sampling, "pairs": pairs}
        config = validate({**raw, **sections}, "test")
        earlier = [
            RoundRecord({step: copy.artifact(n, step) for step in ("prompts", "pairs")}, None)
            for n in (1, 2)
        ]
        with (
            CampaignProgress(Console(file=io.StringIO(), width=200), 3) as progress,
            Session.open(copy.layout.root, config, progress) as session,
        ):
            policy, held = of_round(copy, 2), copy.artifact(0, "held_out")
            whose = str(other) if isinstance(other, Path) else other
            found = sample_and_judge(
                session, 3, AnswerSources(policy, of_round(copy, 0), whose), held, earlier
            )
            if trained:
                policy = train(session, 3, policy, policy, found.training_data)
        return found, policy

    return made


def of_round(campaign: Campaign, number: int) -> Policy:
    made = campaign.artifact(number, "training" if number else "base")
    return Policy(number, made.entry.facts["policy"], made.path("policy"), made)


def rows(made: Artifact, name: str = "completions") -> list[dict[str, Any]]:
    return read_rows(made.path(f"{name}.parquet"))


def check_sides(found: RoundPreferences, own: str, other: str) -> None:
    """Each preference is for the policy's answer, against the other's, which scores lower."""
    both = {row["completion_id"]: row for row in rows(found.completions)}
    assert len(both) == len(rows(found.completions)), "no two answers share an id"
    assert found.scores is not None
    scores = {row["completion_id"]: row["score"] for row in rows(found.scores, "scores")}
    preferences = rows(found.preferences, "preferences")
    assert preferences
    for row in preferences:
        chosen, rejected = both[row["chosen"]], both[row["rejected"]]
        assert (chosen["policy"], rejected["policy"]) == (own, other)
        assert chosen["sample_index"] < SAMPLES <= rejected["sample_index"]
        assert chosen["token_logps"] is not None and rejected["token_logps"] is None
        assert scores[row["chosen"]] > scores[row["rejected"]]
        assert chosen["prompt_token_ids"] == rejected["prompt_token_ids"]
    order = [row["prompt_id"] for row in rows(found.completions)]
    assert len(set(order)) == sum(a != b for a, b in zip(order, [None, *order], strict=False))


def test_another_model_answers_in_the_policys_tokens(
    judge: Judged, copy: Campaign, tmp_path: Path
) -> None:
    write_other(tmp_path / "weak")
    found, trained = judge(tmp_path / "weak", trained=True)
    own, other = (found.parts[f"completions_{side}"] for side in ("own", "other"))
    [name] = {row["policy"] for row in rows(other)}
    before = of_round(copy, 2)
    check_sides(found, before.id, name)

    # Word for word what it wrote, in the numbers that the policy has for these words.
    number = {
        word: token
        for row in rows(own)
        for word, token in zip(row["text"].split(), row["token_ids"], strict=False)
    }
    known = [r for r in rows(other) if r["text"] and all(w in number for w in r["text"].split())]
    assert known
    for row in known:
        ids = row["token_ids"][:-1] if row["finish_reason"] == "stop" else row["token_ids"]
        assert ids == [number[word] for word in row["text"].split()]

    # The check that answers are the policy's own looks at the chosen ones, and passes.
    made = trained.made_by.entry
    assert made.facts["sampling_gap"] < 1e-4 and made.facts["policy"] != before.id
    steps = {**found.steps(), "training": trained.made_by}
    row = round_row(before, trained, True, RoundMetrics(round=3), steps)
    assert row.pairs_delta == row.pairs == found.preferences.entry.kept > 0
    assert row.completions == own.entry.kept + other.entry.kept
    assert found.pairs is not None
    assert (row.dropped or {}).get("truncated", 0) == sum(
        step.entry.dropped.get("truncated", 0) for step in (found.pairs, found.preferences)
    )


def test_a_policy_answers_beside_itself_and_no_two_answers_share_an_id(
    judge: Judged, copy: Campaign
) -> None:
    """Also where both are one policy, and prompts are drawn until enough pairs are there."""
    same, sampling = of_round(copy, 2), {**CONFIG["sampling"], "samples_per_prompt": SAMPLES}
    found, _ = judge(same, sampling={**sampling, "until_pairs": 8})
    check_sides(found, same.id, same.id)
    assert found.pairs is not None and found.prompts is not None
    assert found.pairs.entry.kept == found.prompts.entry.facts["pairs"]
    parts = {name.partition("_draw_")[0] for name in found.parts}
    assert parts == {
        "prompts",
        "completions",
        "completions_own",
        "completions_other",
        "scores",
    }
    assert found.prompts.entry.facts["sampled_tokens"] == sum(
        len(row["token_ids"]) for row in rows(found.completions)
    )
