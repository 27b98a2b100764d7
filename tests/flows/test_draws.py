"""A round that draws prompts until enough pairs are there: the same files whatever happens, and
what its numbers say of it."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from small_campaign import CONFIG, Campaign

from dpo_core.campaign.costs import campaign_cost
from dpo_core.errors import JudgeError
from dpo_core.records import Prompt, prompt_id
from dpo_core.tables import count_rows, read_rows
from flows.config import validate
from flows.draws import AnswerSources, draw_answers
from flows.round_state import DrawnAnswers, Policy, RoundRecord
from flows.session import Session
from flows.steps.pairs import select_pairs
from generation.config import PromptsConfig
from generation.prompts import assign_split
from reporting.progress import CampaignProgress

JUDGE = """
from pathlib import Path

CALLS = []

def score(completions):
    '''Tells the answers to half of the prompts apart. Fails once it is told to, after one draw.'''
    CALLS.append(len(completions))
    if Path(__file__).with_name("fails").exists() and len(CALLS) > 1:
        raise ValueError("told to fail")
    return [-float(c.tokens) if "was" in c.prompt.text else 0.0 for c in completions]
"""
PAIRS = 12
Play = Callable[..., tuple[DrawnAnswers, str]]


@pytest.fixture
def play(finished: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Round 3 of a copy of the campaign of that name, as far as its scores; and what it said."""
    (tmp_path / "draw_judge.py").write_text(JUDGE)
    monkeypatch.syspath_prepend(tmp_path)

    def played(name: str, pool: Path | None = None, **sampling: int) -> tuple[DrawnAnswers, str]:
        folder = tmp_path / name
        campaign = Campaign(folder) if folder.exists() else finished.copied(folder)
        config = validate(
            {
                **CONFIG,
                "judge": {"function": "draw_judge:score"},
                "prompts": {
                    "path": str(pool or finished.folder / "prompts.jsonl"),
                    "per_round": 8,
                    "prefer": "informative",
                },
                "sampling": {"engine": "transformers", "max_tokens": 24, **sampling},
            },
            "test",
        )
        earlier = [
            RoundRecord({step: campaign.artifact(n, step) for step in ("prompts", "pairs")}, None)
            for n in (1, 2)
        ]
        trained, said = campaign.artifact(2, "training"), io.StringIO()
        policy = Policy(2, trained.entry.facts["policy"], trained.path("policy"), trained)
        held = campaign.artifact(0, "held_out")
        with (
            CampaignProgress(Console(file=said, width=200), 3) as progress,
            Session.open(campaign.layout.root, config, progress) as session,
        ):
            drawn = draw_answers(session, 3, AnswerSources(policy, policy), held, earlier)
            selected = select_pairs(session, 3, drawn)
            assert drawn.prompts.entry.facts.get("pairs", selected.entry.kept) == (
                selected.entry.kept
            )
        return drawn, said.getvalue()

    return played


def ids(drawn: DrawnAnswers) -> list[str]:
    rows = read_rows(drawn.prompts.path("prompts.parquet"), ["prompt_id"])
    return [row["prompt_id"] for row in rows]


def test_prompts_are_drawn_until_enough_pairs_are_there(play: Play, tmp_path: Path) -> None:
    drawn, said = play("whole", until_pairs=PAIRS)
    facts, parts = drawn.prompts.entry.facts, drawn.parts
    assert facts["ended_by"] == "pairs" and "fewer pairs" not in said
    assert PAIRS <= facts["pairs"] < PAIRS + 8 and facts["drawn"] == len(set(ids(drawn)))
    draws = [name for name in parts if name.startswith("prompts")]
    assert draws == [f"prompts_draw_{n}" for n in range(1, len(draws) + 1)] and len(draws) > 1
    assert len(parts) == 3 * len(draws)
    shown = {f"round_{n}{what}" for n in (1, 2) for what in ("", "_pairs")}
    before = {f"draw_{n}" for n in range(1, len(draws))}
    assert set(parts[draws[-1]].entry.inputs) == {"held_out", *shown, *before}

    # Joined they are what the draws made, counted once.
    completions = [made for name, made in parts.items() if name.startswith("completions")]
    for name in ("completions", "tokens", "prompts"):
        assert drawn.completions.entry.facts[name] == sum(m.entry.facts[name] for m in completions)
    assert facts["sampled_tokens"] == drawn.completions.entry.facts["tokens"]
    assert count_rows(drawn.completions.path("completions.parquet")) == 4 * facts["drawn"]
    entries = [made.entry for made in (*parts.values(), *drawn.artifacts())]
    cost = campaign_cost(entries, validate(CONFIG, "test").prices)
    assert cost.tokens_out == facts["sampled_tokens"]
    assert set(cost.cost_by_step) == {"prompts", "completions", "scores"}
    for made in drawn.artifacts():
        assert made.entry.came_in == made.entry.kept + sum(made.entry.dropped.values())

    # A round that stops between two draws, and goes on in other shards, comes to the same. These
    # hold whole draws: other batches may round otherwise, and sample another token.
    (tmp_path / "fails").touch()
    import draw_judge

    draw_judge.CALLS.clear()
    with pytest.raises(JudgeError, match="told to fail"):
        play("stopped", until_pairs=PAIRS)
    (tmp_path / "fails").unlink()
    again, _ = play("stopped", until_pairs=PAIRS, shard_prompts=8)
    assert [made.entry.outputs for made in again.artifacts()] == [
        made.entry.outputs for made in drawn.artifacts()
    ]
    assert {n: made.entry.outputs for n, made in again.parts.items()} == {
        n: made.entry.outputs for n, made in parts.items()
    }


def test_a_round_goes_on_once_every_prompt_is_drawn(play: Play, tmp_path: Path) -> None:
    left = PromptsConfig(path=str(tmp_path / "left.jsonl"))
    told = [Prompt(prompt_id(text, None), text) for text in (f"it was {n}" for n in range(99))]
    train = [p for p in told if assign_split(p.prompt_id, left) == "train"][:16]
    (tmp_path / "left.jsonl").write_text("".join(f'{{"prompt": "{p.text}"}}\n' for p in train))
    drawn, said = play("all", pool=tmp_path / "left.jsonl", until_pairs=50)
    facts = drawn.prompts.entry.facts
    assert (facts["ended_by"], facts["drawn"]) == ("pool", 16)  # in two draws of 8, and none more
    assert sorted(ids(drawn)) == sorted(p.prompt_id for p in train)
    assert "no prompts are left to draw" in said


def test_a_round_whose_budget_is_spent_goes_on_with_fewer_pairs(play: Play) -> None:
    drawn, said = play("poor", until_pairs=50, budget_tokens=8 * 4 * 24)
    facts = drawn.prompts.entry.facts
    assert facts["ended_by"] == "budget" and 0 < facts["pairs"] < 50
    assert facts["sampled_tokens"] <= 9 * 4 * 24
    assert f"{facts['pairs']} of 50 pairs" in said and "sampling.budget_tokens, 768," in said
    once, _ = play("once")
    assert once.parts == {} and len(ids(once)) == 8
    assert ids(drawn)[:8] == ids(once), "the first draw is the one of a round that draws once"
