"""Each remedy that a finding of the audit names, followed literally, works.

A case is material that is stopped and, for each remedy, what the same things come to after it was
followed. Whoever adds a finding adds its case.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dpo_core.records import Completion, Prompt
from dpo_core.special_tokens import read_special_tokens
from labeling.audit.checks import CHECKS, audit
from labeling.audit.config import AuditConfig, FindingName
from labeling.audit.material import AuditedAnswer, Material, Preference, StepLosses, count_votes
from labeling.audit.token_faults import token_faults
from labeling.pairs.config import PairsConfig
from labeling.pairs.selection import select_pairs

CONFIG = AuditConfig(
    max_ties_share=0.3, max_truncated_share=0.3, max_overlap_share=0.3, fewest=4, overlap_words=3
)


def preference(number: int, **changes: Any) -> Preference:
    sound = Preference(
        pair_id=f"pair{number}",
        prompt=Prompt(f"p{number}", text=f"what is {number} and {number}?"),
        chosen=AuditedAnswer(f"a good answer to {number}", 6, True),
        rejected=AuditedAnswer(f"something else about {number}", 5, True),
        side="ab"[number % 2],
    )
    return replace(sound, **changes)


SOUND = [preference(n) for n in range(8)]


def with_first(**changes: Any) -> Material:
    return Material([preference(0, **changes), *SOUND[1:]])


def removed() -> Material:
    """The first one was removed where it came from."""
    return Material(SOUND[1:])


# ── pairs as they are selected ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Sampled:
    """An answer: its score by the judge, whether it is finished, how many tokens it has."""

    score: float
    finished: bool = True
    tokens: int = 6
    text: str = ""


def of_pairs(answers: Sequence[Sampled], tied_within: float = 0.0, **pairs: Any) -> Material:
    """Eight prompts with these answers; a second judge ties what is scored `tied_within`."""
    config = PairsConfig.model_validate(pairs)
    preferences, dropped = [], 0
    for number, sound in enumerate(SOUND):
        completions = [
            Completion(
                f"{number}/{n}",
                sound.prompt,
                a.text or f"answer {chr(97 + n) * 9} of {number}",
                "stop" if a.finished else "length",
                a.tokens,
            )
            for n, a in enumerate(answers)
        ]
        scores = {c.completion_id: a.score for c, a in zip(completions, answers, strict=True)}
        found = select_pairs(completions, scores, config, seed=1)
        dropped += found.dropped.get("truncated", 0)
        by_id = {c.completion_id: c for c in completions}
        for pair in found.pairs:
            best, worst = sorted((pair.a, pair.b), key=lambda c: -scores[c])
            tied = scores[best] - scores[worst] <= tied_within
            chosen, rejected = (
                AuditedAnswer(by_id[c].text, by_id[c].tokens, by_id[c].finished)
                for c in (best, worst)
            )
            p_chosen = 0.5 if tied else 1.0
            preferences.append(
                replace(sound, chosen=chosen, rejected=rejected, p_chosen=p_chosen, side=None)
            )
    came_in = len(SOUND)
    selection = StepLosses(came_in, {"truncated": dropped} if dropped else {})
    return Material(preferences, selection=selection, truncated=config.truncated)


CUT = [Sampled(4, finished=False), Sampled(3), Sampled(2), Sampled(1, finished=False)]
CLOSE = [Sampled(1.0), Sampled(0.9)]
ALIKE = [
    Sampled(1.00, text="The film is fine, and nothing in it is dull."),
    Sampled(0.99, text="The film is fine, and nothing in it is full."),
]
LONG = [Sampled(100, tokens=100), Sampled(4, tokens=4)]  # its score is its length


# ── token ids, by the policy's files ─────────────────────────────────────────────────────────────


def of_tokens(
    token_ids: Sequence[int], eos_token_id: Any, eos_token: str = "<eos>", **files: Any
) -> Material:
    """The first preference's chosen answer has these ids, 1 `<eos>` and 2 `<end>`; `prompt_ids`
    are those of its prompt, 0 `<s>`."""
    tokens = [{"id": n, "content": name} for n, name in enumerate(("<s>", "<eos>", "<end>"))]
    settings: dict[str, Any] = {"eos_token": eos_token, "bos_token": "<s>", "add_bos_token": True}
    written: Mapping[str, Any] = {
        "config.json": {},
        "generation_config.json": {"eos_token_id": eos_token_id},
        "tokenizer_config.json": settings | files.get("settings", {}),
        "tokenizer.json": {"added_tokens": tokens},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, content in written.items():
            (Path(folder) / name).write_text(json.dumps(content))
        special = read_special_tokens(Path(folder))
    prompt = files.get("prompt", SOUND[0].prompt)
    ids = files.get("prompt_ids", [0, 7, 8])
    faults = token_faults(prompt, ids, token_ids, True, special)
    return with_first(prompt=prompt, chosen=AuditedAnswer("a good answer", 6, True, faults))


TEMPLATE = "<s>{{ messages[0]['content'] }}"
ASKED = Prompt("p0", messages=({"role": "user", "content": "why"},))


def of_chat(template: str, prompt_ids: Sequence[int], content: str = "why") -> Material:
    prompt = replace(ASKED, messages=({"role": "user", "content": content},))
    settings = {"chat_template": template}
    return of_tokens([7, 1], 1, prompt=prompt, prompt_ids=prompt_ids, settings=settings)


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────


def of_verdicts(*sources: tuple[str, str], retracted: str = "") -> Material:
    """(source, the verdicts it gives in turn)."""
    rows = [
        {
            "pair_id": sound.pair_id,
            "source": source,
            "verdict": verdicts[number % len(verdicts)],
            "forward": None,
            "backward": None,
        }
        for source, verdicts in sources
        for number, sound in enumerate(SOUND)
        if source != retracted
    ]
    return Material(SOUND, judged=count_votes(rows, []))


def of_dropped(**reasons: int) -> Material:
    return Material(SOUND, aggregation=StepLosses(100, reasons))


HELD_OUT = [Prompt("h", text="What  is 0 AND 0?")]
NEAR = [Prompt("h", text="in other words: what is 0 and so on")]


def held_out(prompts: Sequence[Prompt], material: Material) -> Material:
    return replace(material, held_out=prompts)


CASES: dict[FindingName, list[tuple[Material, dict[str, Material]]]] = {
    "dropped": [
        (
            of_dropped(abstained=60, unreadable=40),
            {
                "fix the judge": of_dropped(unreadable=40),
                "retract a source that abstains": of_dropped(unreadable=40),
                "ask more people": of_dropped(abstained=10, unreadable=40),
            },
        )
    ],
    "truncated": [
        (
            of_pairs(CUT),
            {
                "Raise sampling.max_tokens": of_pairs([replace(a, finished=True) for a in CUT]),
                "set pairs.truncated to avoid": of_pairs(CUT, truncated="avoid"),
                "or reject": of_pairs(CUT, truncated="reject"),
            },
        )
    ],
    "ties": [
        (
            of_pairs(CLOSE, tied_within=0.5),
            {
                "Use a judge that distinguishes the answers": of_pairs(CLOSE),
                "raise pairs.min_margin": of_pairs(CLOSE, tied_within=0.5, min_margin=0.5),
            },
        )
    ],
    "identical_texts": [
        (
            with_first(chosen=SOUND[0].rejected),
            {"Remove these pairs where they come from": removed()},
        )
    ],
    "near_duplicates": [
        (
            of_pairs(ALIKE),
            {
                "Raise sampling.temperature": of_pairs(
                    [ALIKE[0], replace(ALIKE[1], text="Nobody needs to see this.")]
                ),
                "sampling.samples_per_prompt": of_pairs(
                    [*ALIKE, Sampled(0.2, text="Nobody needs to see this.")]
                ),
                "pairs.min_margin": of_pairs(ALIKE, min_margin=0.1),
            },
        )
    ],
    "empty_answers": [
        (
            with_first(chosen=AuditedAnswer(" \n", 1, True)),
            {"Remove these pairs where they come from": removed()},
        )
    ],
    "eos_missing": [
        (
            of_tokens([7, 2], 1),
            {"set eos_token_id in generation_config.json": of_tokens([7, 2], [1, 2])},
        )
    ],
    "eos_doubled": [
        (
            of_tokens([7, 1, 7, 2], [1, 2]),
            {
                "let eos_token in tokenizer_config.json name only the token that ends answers, and "
                "likewise eos_token_id in generation_config.json": (
                    of_tokens([7, 1, 7, 2], 2, "<end>")
                ),
            },
        ),
        (of_tokens([7, 1, 1], 1), {"end imported answers with one EOS": of_tokens([7, 1], 1)}),
    ],
    "bos_missing": [
        (
            of_chat(TEMPLATE, [7]),
            {"restore the policy's files": of_chat("{{ messages[0]['content'] }}", [7])},
        )
    ],
    "bos_doubled": [
        (
            of_chat(TEMPLATE, [0, 7, 0, 7], "why <s> why"),
            {
                "Remove any BOS written in the prompts' text or messages": (
                    of_chat(TEMPLATE, [0, 7, 7], "why why")
                )
            },
        ),
        (
            of_chat(f"<s>{TEMPLATE}", [0, 0, 7]),
            {"the chat template writes two in a row: remove one there": of_chat(TEMPLATE, [0, 7])},
        ),
    ],
    "contaminated": [
        (
            held_out(HELD_OUT, Material(SOUND)),
            {"Remove these prompts from the training prompts": held_out(HELD_OUT, removed())},
        )
    ],
    "held_out_overlap": [
        (
            held_out(NEAR, Material(SOUND[:1])),
            {"Remove prompts that are variants of held-out ones": held_out(NEAR, removed())},
        )
    ],
    "length_skew": [
        (
            of_pairs(LONG),
            {
                "Check whether the judge rewards length": of_pairs(
                    [Sampled(1, tokens=100), Sampled(0, tokens=90)]
                ),
                "pairs.strategy length_aware with pairs.margin_per_token": of_pairs(
                    LONG, strategy="length_aware", margin_per_token=1.0
                ),
            },
        )
    ],
    "same_side": [
        (
            of_verdicts(("blind", "a"), ("sound", "ab")),
            {
                "fix it": of_verdicts(("blind", "ab"), ("sound", "ab")),
                "retract its verdicts with `ratchet labels retract`": of_verdicts(
                    ("blind", "a"), ("sound", "ab"), retracted="blind"
                ),
            },
        )
    ],
}
FLAT = [(name, *case) for name, cases in CASES.items() for case in cases]


@pytest.mark.parametrize(("name", "bad", "mended"), FLAT, ids=[name for name, *_ in FLAT])
def test_what_the_finding_says_to_do_works(
    name: FindingName, bad: Material, mended: dict[str, Material]
) -> None:
    found = audit(bad, CONFIG)
    assert [each for each, finding in found.items() if finding.blocks] == [name]
    for remedy, material in mended.items():
        assert remedy in CHECKS[name].remedy
        assert [n for n, finding in audit(material, CONFIG).items() if finding.blocks] == []
    # What AuditFailed says of all of them.
    allowed = CONFIG.model_copy(update={"allow": [name]})
    assert not any(finding.blocks for finding in audit(bad, allowed).values())


def test_every_finding_has_its_case() -> None:
    assert CASES.keys() == CHECKS.keys()
    assert audit(Material(SOUND), CONFIG).keys() == CHECKS.keys()
    assert not any(finding.blocks for finding in audit(Material(SOUND), CONFIG).values())
