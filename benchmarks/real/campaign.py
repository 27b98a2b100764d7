"""The campaign of a seed: run by the public command, then read from its folder."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from benchmarks.real.kept import Took, measured
from benchmarks.real.results import BASE, Answered, Answers, Example
from dpo_core import json_lines
from dpo_core.campaign.artifacts import Artifact, current_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.hashing import content_id
from dpo_core.records import Completion, Prompt, prompt_tags
from examples import smollm2
from flows.config import CampaignConfig, read_stored
from flows.evaluation.relevance import read_relevance
from flows.read_records import read_completions, read_full_scores

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "configs/smollm2-cpu.yaml"
EXAMPLES = 6

_INTERVALS = ("kl_base_nats", "relevance", "relevance_change_base", "base_nats_per_token")
_KEPT = (
    *("round", "promoted", "decision", "prompts", "completions", "pairs", "steps", "warnings"),
    *(f"{name}{end}" for name in _INTERVALS for end in ("", "_low", "_high")),
    *("kl_base_nats_se", "base_nats_per_token_base", "tokens_out", "seconds_round", "cpu_seconds"),
)


@dataclass(frozen=True)
class Campaign:
    """A finished one: its folder, and its rounds as `ratchet status --json` tells them."""

    root: Path
    rows: Sequence[Mapping[str, Any]]

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """Of each round what a result keeps."""
        return [{name: row.get(name) for name in _KEPT} for row in self.rows]

    @property
    def final(self) -> int:
        """The round whose policy stands at the end."""
        return max((row["round"] for row in self.rows if row["promoted"]), default=BASE)

    @property
    def config(self) -> CampaignConfig:
        return read_stored(Layout(self.root))

    @property
    def policies(self) -> dict[int, str]:
        """Round → id of its policy."""
        numbers = [BASE, *(row["round"] for row in self.rows)]
        return {n: str(self._made_policy(n).entry.facts["policy"]) for n in numbers}

    def policy(self, number: int) -> Path:
        """The folder of a round's policy."""
        return self._made_policy(number).path("policy")

    def step(self, number: int, name: str) -> Artifact:
        """A step that a finished round has."""
        found = current_artifact(Layout(self.root), number, name)
        if found is None:
            raise SystemExit(f"{self.root}: round {number} has no step {name}")
        return found

    def _made_policy(self, number: int) -> Artifact:
        return self.step(number, "training" if number else "base")

    @property
    def trained(self) -> Answered:
        """What became of all policies' answers to the test prompts."""
        by_round = {number: self._test(number) for number in self.policies}
        order = sorted(by_round[BASE])
        return Answered(
            [group_of(by_round[BASE][p].prompt) for p in order],
            {n: self._answers(n, [found[p] for p in order]) for n, found in by_round.items()},
        )

    @property
    def examples(self) -> list[Example]:
        """Of each kind of instruction the test prompt with the first id; kinds alone come first."""
        base, final = self._test(BASE), self._test(self.final)
        first: dict[tuple[str, ...], str] = {}
        for prompt_id in sorted(base):
            first.setdefault(prompt_tags(base[prompt_id].prompt.extra), prompt_id)
        kinds = sorted(first, key=lambda tags: (len(tags), tags))[:EXAMPLES]
        return [
            Example(base[p].prompt.shown().removeprefix("user: "), base[p].text, final[p].text)
            for p in (first[kind] for kind in kinds)
        ]

    def _test(self, number: int) -> dict[str, Completion]:
        """prompt_id → the first answer of a round's policy to that test prompt."""
        answers = self.step(number, "answers").path("completions.parquet")
        prompts = self.step(BASE, "held_out").path("prompts.parquet")
        return {
            c.prompt.prompt_id: c
            for c in read_completions(answers, prompts)
            if c.prompt.split == "test" and c.sample_index == 0
        }

    def _answers(self, number: int, answers: Sequence[Completion]) -> Answers:
        scores = self.step(number, "answer_scores").path("scores.parquet")
        [by_id] = read_full_scores(scores).values()  # one judge
        values = (by_id[c.completion_id].value for c in answers)
        relevant = self._relevant(number)
        return Answers(
            [None if value is None else value == 1 for value in values],
            [c.finished for c in answers],
            [c.tokens for c in answers],
            [relevant.get(c.prompt.prompt_id) for c in answers],
        )

    def _relevant(self, number: int) -> dict[str, bool]:
        """prompt_id → whether the answer belongs to its request, of those that were looked at."""
        made = current_artifact(Layout(self.root), number, "answer_relevance")
        if made is None:
            return {}
        answers = self.step(number, "answers").path("completions.parquet")
        return read_relevance(made.path("relevance.parquet"), answers).relevant


def play_campaign(
    root: Path, sets: Sequence[str], record: Path
) -> tuple[Campaign, Took, dict[str, Any]]:
    """Run or resume the recipe in `root`; with what that took, and the machine that it ended on.
    `record` is a file for both, of the calls that did something.

    Raises SystemExit where the command fails or the model's file cannot be had.
    """
    overrides = [f"data_dir={_model_folder()}", *sets]
    words = [word for one in overrides for word in ("--set", one)]
    ledger = Layout(root).ledger
    before = _size(ledger)

    def tell(took: Took) -> None:
        if _size(ledger) != before:
            json_lines.append(record, [{"took": asdict(took), "machine": machine()}])

    with measured(tell):
        ratchet("run", str(RECIPE), "--no-cache", "--campaign-dir", str(root), *words)
    told = json.loads(ratchet("status", str(root), "--json", piped=True))
    if told["state"] != "finished":
        raise SystemExit(f"the campaign in {root} is {told['state']}: {told['headline']}")
    calls = [one for _, one in json_lines.read(record, "")]
    whole = sum((Took(**one["took"]) for one in calls), Took(0.0, 0.0))
    took = max(whole, _steps(ledger), key=lambda took: took.wall_s)
    return Campaign(root, told["rounds"]), took, calls[-1]["machine"] if calls else machine()


def begin_as(parent: Path, root: Path) -> None:
    """Put the base and the first round's answers of a finished campaign into `root`, unless it is
    there. Finished steps are never written again, so their files are shared."""
    if root.exists():
        return
    if not Layout(parent).config.exists():
        raise SystemExit(f"there is no campaign in {parent}: run the recipe with this seed first")
    rounds = Layout(parent).round(1).parent

    def left_out(folder: str, names: list[str]) -> list[str]:
        if Path(folder) == rounds:
            return [name for name in names if name not in ("00", "01")]
        return [name for name in names if name.startswith(("training-", "answers-"))] * (
            Path(folder) == Layout(parent).round(1)
        )

    def share(source: str, target: str) -> str:
        inside = rounds in Path(source).parents
        (os.link if inside else shutil.copyfile)(source, target)
        return target

    beside = root.with_name(f".{root.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)  # of a call that was killed
    shutil.copytree(parent, beside, ignore=left_out, copy_function=share)
    beside.rename(root)


def _steps(ledger: Path) -> Took:
    """What the steps alone took: more than the calls, where one of these was killed."""
    entries = Ledger(ledger).read()
    wall_s = sum(entry.seconds for entry in entries)
    return Took(wall_s, sum(entry.facts.get("cpu_seconds", 0.0) for entry in entries))


def ratchet(*words: str, piped: bool = False, env: Mapping[str, str] | None = None) -> str:
    """What the command prints, if piped; else it prints to stderr. Raises SystemExit with its exit
    code where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE if piped else sys.stderr,
        text=True,
        check=False,
        env=os.environ | (env or {}),
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout or ""


def group_of(prompt: Prompt) -> str:
    """What a prompt has in common with others: those about one request are alike."""
    group = prompt.extra.get("group")
    return prompt.prompt_id[:8] if group is None else content_id("group", group)[:8]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _model_folder() -> Path:
    try:
        return smollm2.model_path().parent
    except smollm2.ModelMissing as error:
        raise SystemExit(f"smollm2: {error}") from None
