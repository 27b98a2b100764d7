"""What a round's draws are worth: pairs per 1,000 sampled tokens, and where the same tokens lead.

    python -m benchmarks.draws CONFIG [--arms uniform,informative,until] [--seeds 0 1 2]
        [--until 200] [--measure measure_followed] [--set K=V] [--folder DIR] [--json FILE]

Every arm is the config with a few keys set. `uniform` draws prompts least used first; `informative`
those first whose answers differed in earlier rounds; `until` does that too and draws until so many
pairs are there. `drop`, `avoid` and `reject` are the ways to treat answers that were cut at the
length limit. The arms of a seed share one campaign folder, so that what they have in common is made
once.

A measure is a column of metrics.parquet with one ending in `_base` beside it. It is read of the
policy that stands after each round (the one promoted last, or the base), over the tokens that were
sampled until then; what it is at equal tokens lies on the straight line between two rounds, at the
tokens of the arm that sampled fewest.
"""

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import fmean

from rich.console import Console

from benchmarks.measure import add_json_option, machine, names_among, write_result
from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.facts import read_round_metrics
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.round_metrics import RoundMetrics
from flows.config import CampaignConfig, load_config
from flows.run import run_campaign

ARMS: Mapping[str, tuple[str, ...]] = {
    "uniform": (),
    "informative": ("prompts.prefer=informative",),
    "until": ("prompts.prefer=informative", "sampling.until_pairs={until}"),
    "drop": ("pairs.truncated=drop",),
    "avoid": ("pairs.truncated=avoid",),
    "reject": ("pairs.truncated=reject",),
}
"""What each arm sets of the config."""


@dataclass(frozen=True)
class Round:
    """What a round sampled and trained on, and what stands after it: the measure and the share of
    answers that were cut, each of the policy that goes on."""

    prompts: int
    tokens: int
    pairs: int
    measure: float
    cut: float


@dataclass(frozen=True)
class Arm:
    """The rounds of an arm with one seed; base: the measure of the base policy."""

    name: str
    seed: int
    base: float
    rounds: Sequence[Round]

    @property
    def tokens(self) -> int:
        return sum(each.tokens for each in self.rounds)

    @property
    def pairs_per_1000_tokens(self) -> float:
        return 1000 * sum(each.pairs for each in self.rounds) / max(1, self.tokens)

    def measure_at(self, tokens: int) -> float:
        """On the straight line between the rounds before and after so many sampled tokens."""
        ends = accumulate((each.tokens for each in self.rounds), initial=0)
        values = [self.base, *(each.measure for each in self.rounds)]
        points = list(zip(ends, values, strict=True))
        for (before, low), (after, high) in pairwise(points):
            if before <= tokens <= after and after > before:
                return low + (high - low) * (tokens - before) / (after - before)
        return values[-1]


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="ratchet-draws-") as place:
        folder = options.folder or Path(place)
        arms = [
            run_arm(name, seed, options, folder) for seed in options.seeds for name in options.arms
        ]
    print("\n".join(table(arms, options.measure)))
    found = {"machine": machine(), "measure": options.measure, "arms": list(map(asdict, arms))}
    write_result(found, options.json)


def parse(arguments: list[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.draws")
    parser.add_argument("config", type=Path)
    parser.add_argument("--arms", type=names_among(ARMS), default=["uniform", "informative"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--until", type=int, help="pairs of arm until; half of prompts.per_round")
    parser.add_argument("--measure", default="win_rate_base", help="a column of metrics.parquet")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="K=V")
    parser.add_argument("--folder", type=Path, help="of the campaigns, to go on with; none: a new")
    add_json_option(parser)
    return parser.parse_args(arguments)


def overrides_of(name: str, seed: int, options: Namespace) -> list[str]:
    """What an arm changes of the config; of two words on one key the later counts."""
    until = options.until or load_config(options.config, options.overrides).prompts.per_round // 2
    sets = (each.format(until=until) for each in ARMS[name])
    return [*options.overrides, f"seed={seed}", *sets]


def run_arm(name: str, seed: int, options: Namespace, folder: Path) -> Arm:
    config = load_config(options.config, overrides_of(name, seed, options))
    root = folder / f"seed-{seed}"
    run_campaign(config, root, Console(soft_wrap=True), with_prefect=False)
    base, rounds = _read(Layout(root), config, options.measure)
    return Arm(name, seed, base, rounds)


def _read(layout: Layout, config: CampaignConfig, measure: str) -> tuple[float, Sequence[Round]]:
    numbers = range(1, config.rounds + 1)
    rows = [row for n in numbers if (row := read_round_metrics(layout, n)) is not None]
    base, cut = _of_base(rows[0], measure), rows[0].truncated_share_base or 0.0
    return base, list(_rounds(layout, rows, measure, (base, cut)))


def _of_base(row: RoundMetrics, measure: str) -> float:
    """A win rate against the base is a half for the base itself."""
    return 0.5 if measure == "win_rate_base" else _number(row, f"{measure}_base")


def _rounds(
    layout: Layout, rows: Sequence[RoundMetrics], measure: str, stands: tuple[float, float]
) -> Iterator[Round]:
    for row in rows:
        sampled = current_artifact(layout, row.round, "completions")
        assert sampled is not None, "a round that is finished sampled"
        if row.promoted:
            stands = (_number(row, measure), row.truncated_share or 0.0)
        tokens = sampled.entry.facts["tokens"]
        yield Round(row.prompts or 0, tokens, row.pairs or 0, *stands)


def _number(row: RoundMetrics, name: str) -> float:
    number = row.number(name)
    assert number is not None, f"{name} is measured in every round"
    return number


def table(arms: Sequence[Arm], measure: str) -> Iterator[str]:
    """One line per arm: means over seeds, against the first arm of the same seed."""
    equal = {
        seed: min(arm.tokens for arm in arms if arm.seed == seed) for seed in {a.seed for a in arms}
    }
    first = {arm.seed: arm for arm in reversed(arms)}
    yield (
        "| arm | prompts | tokens | pairs | pairs per 1,000 tokens | against the first "
        f"| {measure} | at equal tokens, by seed | cut |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in dict.fromkeys(arm.name for arm in arms):
        of_arm = [arm for arm in arms if arm.name == name]
        counts = [
            fmean(sum(getattr(each, of) for each in arm.rounds) for arm in of_arm)
            for of in ("prompts", "tokens", "pairs")
        ]
        rate = fmean(arm.pairs_per_1000_tokens for arm in of_arm)
        gain = fmean(
            arm.pairs_per_1000_tokens / max(first[arm.seed].pairs_per_1000_tokens, 1e-9)
            for arm in of_arm
        )
        ends = fmean(arm.rounds[-1].measure for arm in of_arm)
        at_equal = ", ".join(f"{arm.measure_at(equal[arm.seed]):.3f}" for arm in of_arm)
        cut = fmean(arm.rounds[-1].cut for arm in of_arm)
        shown = " | ".join(f"{count:,.0f}" for count in counts)
        yield (
            f"| {name} | {shown} | {rate:.2f} | {gain:.2f} | {ends:.3f} | {at_equal} | {cut:.1%} |"
        )


if __name__ == "__main__":
    main()
