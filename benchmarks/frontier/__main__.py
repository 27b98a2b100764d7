"""Does it align? Reward and win rate against KL to the base, at equal label and sample budgets.

    python -m benchmarks.frontier [--folder DIR] [--seeds 0 1 2] [--arms reset,fixed] [--out FILE]

The plan, fixed before the first run. The task is the demo (configs/demo-cpu.yaml: 0.86 M
parameters, judged by a rule that is right by definition). Nothing is tuned per arm; what comes is
shown, collapses included. Arms, each with three seeds:

- `reset`: three rounds of 512 prompts x 4 answers, the best against the worst, the reference reset
  each round; with `fixed` the reference stays the base, with `ema` it goes half the way each round.
- `offline`: one round with 1,536 prompts x 4 answers of the base, then as many optimiser steps.
- `trl`: TRL's OnlineDPOTrainer from the same base with the same judge, beta, learning rate, warm-up
  and pairs per step, on as many answers (6,144). It compares two answers of a prompt, so it gets
  3,072 prompts and as many labels of pairs, twice ours. Its reference is the base.
- Noise: the label of a pair is turned round with probability 0, 0.1 or 0.3, always that of the same
  pairs. Hard targets take the label as certain. Soft ones are those that `aggregation.targets:
  soft` makes of one vote: (1 + 1/2)/(1 + 1) = 0.75 for the side it names, whatever the noise. So
  every arm has one label per pair. Without noise and hard is `reset` itself.
- Beyond equal budgets, and marked so: three labels per pair, each wrong with probability 0.3, their
  majority as a hard target against their smoothed share (7/8 or 5/8) as a soft one.
- The gate promotes where the win rate on gate prompts exceeds 0.5; `ungated` always promotes;
  `strict` wants the lower end of its interval above 0.5.

What counts is the policy with which an arm ends: the one promoted last, or the base. All are judged
without noise on the same 512 test prompts with the same seeds against the base's answers. Intervals
are over prompts, 95 %; seeds differ in base policy, prompts, samples and noise. The arms of a seed
share one campaign folder, so that what they have in common is made once.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich.console import Console

from benchmarks.frontier.arms import ARMS
from benchmarks.frontier.page import write_page
from benchmarks.frontier.run import read_results, run_arm
from benchmarks.measure import names_among

PAGE = Path(__file__).parents[2] / "docs/experiments/demo-frontier.md"
FOLDER = Path("campaigns/frontier")


def main() -> None:
    options = parse()
    console = Console(soft_wrap=True)
    for seed in options.seeds:
        for name in options.arms:
            result = run_arm(ARMS[name], seed, options.overrides, options.folder, console)
            console.print(f"arm {name}, seed {seed}: {result.failed or 'finished'}")
    if options.out is not None:
        write_page(read_results(options.folder), options.out, options.seeds)
        print(options.out)


def parse(arguments: list[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.frontier")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of the runs; {FOLDER}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", type=names_among(ARMS), default=list(ARMS), help=", ".join(ARMS))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="K=V")
    parser.add_argument("--out", type=_page, default=PAGE, help="the page; none: only run")
    return parser.parse_args(arguments)


def _page(text: str) -> Path | None:
    return None if text == "none" else Path(text)


if __name__ == "__main__":
    main()
