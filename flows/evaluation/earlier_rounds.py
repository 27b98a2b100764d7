"""What the policy does worse than earlier ones: forgotten prompts, and circles of rounds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.cycles import cycles, win_rates
from dpo_core.evaluation.forgotten import Forgotten, forgotten
from dpo_core.records import FORGOTTEN
from dpo_core.tables import write_rows
from flows.evaluation.held_out import HeldOutAnswers
from flows.evaluation.ratings import Matches

EXAMPLES = 10

_RESAMPLES = 500


def forgotten_prompts(
    path: Path, number: int, met: Matches, ours: HeldOutAnswers
) -> dict[str, Any]:
    """Test prompts that an earlier round's policy, or the base, answered better: listed in `path`,
    worst first, with a few as examples here. gained: answered better than by all of those.

    With a judge that reads pairs, the earlier ones are those it compared: `evaluation.opponents`.
    """
    own = (row for row in met.rows() if row[0] == number)
    found = forgotten((prompt, other, outcome) for _, other, prompt, outcome in own)
    shown = {c.prompt.prompt_id: c.prompt.shown() for c in ours.test()}
    rows = [
        {
            "prompt_id": one.prompt_id,
            "prompt": shown[one.prompt_id],
            "better_in": one.better_in,
            "outcome": one.outcome,
            "answers": one.answers,
        }
        for one in found.worse
    ]
    write_rows(path, rows, FORGOTTEN)
    examples = [{k: v for k, v in row.items() if k != "prompt"} for row in rows[:EXAMPLES]]
    return {
        "count": len(rows),
        "compared": found.compared,
        "gained": found.gained,
        "examples": examples,
        "sentence": _sentence(found),
    }


def circles(met: Matches, config: EvaluationConfig) -> list[list[int]]:
    """Rounds of which each beats the next and the last the first, each of it beyond chance: the
    interval of every one of these win rates lies above one half."""
    rates = win_rates(
        met.triples(),
        groups=met.prompt_id,
        confidence=config.confidence,
        resamples=min(config.bootstrap_resamples, _RESAMPLES),
    )
    return [[int(str(p)) for p in circle.policies] for circle in cycles(rates) if circle.sure]


def told(number: int, found: Sequence[Sequence[int]]) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each circle that this round closes; older ones were told before."""
    for circle in found:
        if number in circle:
            steps = zip(circle, (*circle[1:], circle[0]), strict=True)
            said = ", ".join(f"{_named(winner)} beats {_named(loser)}" for winner, loser in steps)
            yield (
                f"cycle {' '.join(map(str, circle))}",
                f"{said[0].upper()}{said[1:]}: no rating can order them, so look at which answers "
                "win before choosing one.",
            )


def _named(round_: int) -> str:
    return f"round {round_}" if round_ else "the base"


def _sentence(found: Forgotten) -> str:
    if not found.compared:
        return "No test prompt could be compared with an earlier round."
    return (
        f"{len(found.worse)} of {found.compared} test prompts are answered worse than in some "
        f"earlier round, {found.gained} better than in all of them."
    )
