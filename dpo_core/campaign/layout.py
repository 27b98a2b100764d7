"""Every path of a campaign on disk is spelled here, and only here.

<campaign>/
  campaign.yaml            the resolved config that is valid now; campaign-v1.yaml …: earlier ones
  ledger.jsonl             one line per finished step
  current.json             which version of each step is valid, which policy is promoted
  rounds/00/               the base policy, the held-out prompts and the base's answers
  rounds/01/<step>-<fp8>/  the steps of round 1; `.….partial` beside them while being made
  labels/01.jsonl          what people were asked in round 1, and every answer seen, append-only
  waiting.json             what the campaign waits for, while it waits for people
  failure.json             why the last run failed, until another one begins
  branch.json              of a branch: from which campaign, at which round, with which changes
  decisions.jsonl          what people decided about policies that did not pass the gate
  cache/judges/            replies of language models, by content; removing them costs asking again
  cache/reference_logps/   log-probs that training need not make again; may be removed
  cache/file_hashes.json   hashes of the user's files; may be removed
  judge_spending.jsonl     what each reply took of a judge's budget
  metrics.parquet          one row per round
  report.html
  tracking.json            which runs of trackers hold what; tracking/: files of their clients
  tensorboard/             the curves of each round's training, and the rounds, as events
  storage.json             where else the campaign is, and how far that copy goes; what is missing
                           here is read from there
  progress.json            the step that the running process is at
  lock                     held by the process that runs the campaign
  workers.json             of a run on a cluster: which node does what now
  logs/                    what children and Prefect print
  prefect/                 Prefect's database and home
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FINGERPRINT_SHOWN = 8
"""Hex characters of a fingerprint that appear in a folder name."""

MANIFEST = "step.json"

SHARDS = "shards"
"""Folder of an unfinished step with what need not be made again when the step is resumed."""

DRAW = "_draw_"
"""In the names of steps that are one draw of several of a round: what they make is joined in the
steps without it."""

OWN, OTHER = "completions_own", "completions_other"
"""Steps with the policy's answers and those of another, which are joined in `completions`."""

CHECKPOINTS = "checkpoints"
"""Folder of an unfinished step from which training goes on."""


def checkpoint_of(name: str) -> str | None:
    """The folder of the checkpoint that a file is part of, both by their paths in the campaign;
    None for other files."""
    parts = name.split("/")  # rounds, 01, .training-….partial, checkpoints, step-…
    in_one = len(parts) > 5 and parts[2].endswith(".partial") and parts[3] == CHECKPOINTS
    return "/".join(parts[:5]) if in_one else None


def joined_in(step: str) -> str:
    """The name of the step that this one is, or that it is joined in."""
    name = step.partition(DRAW)[0]
    return "completions" if name in (OWN, OTHER) else name


def round_name(number: int) -> str:
    """How a round is called in names of files and folders. Names do not stand in the order of
    rounds, from the hundredth on: compare what `round_number` gives."""
    return f"{number:02d}"


def round_number(name: str) -> int:
    """The round that is called so."""
    return int(name)


CAMPAIGNS = Path("campaigns")
"""Folder of campaigns for which no other folder is named."""


def default_root(name: str) -> Path:
    """Where a campaign of that name lies unless another folder is named."""
    return CAMPAIGNS / name


def find_campaigns(places: Iterable[Path]) -> list[Path]:
    """Folders of campaigns in `places`: each a campaign's own, or one with campaigns in it."""
    found: dict[Path, None] = {}
    for place in places:
        for config in (place / "campaign.yaml", *sorted(place.glob("*/campaign.yaml"))):
            if config.is_file():
                found[config.parent.resolve()] = None
    return list(found)


def submitted_campaigns(worker: "Layout") -> list[Path]:
    """Folders of campaigns in the registry of a worker; none where it cannot be read, which the
    worker itself reports."""
    try:
        entries = json.loads(worker.registry.read_text(encoding="utf-8"))
        return [Path(entry["root"]) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return []


@dataclass(frozen=True)
class Layout:
    """The paths of the campaign in the folder `root`."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "campaign.yaml"

    def old_config(self, version: int) -> Path:
        return self.root / f"campaign-v{version}.yaml"

    @property
    def registry(self) -> Path:
        """In a worker's folder: what was submitted to it."""
        return self.root / "registry.json"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    @property
    def current(self) -> Path:
        return self.root / "current.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def workers(self) -> Path:
        return self.root / "workers.json"

    @property
    def storage(self) -> Path:
        return self.root / "storage.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.parquet"

    @property
    def waiting(self) -> Path:
        return self.root / "waiting.json"

    @property
    def progress(self) -> Path:
        return self.root / "progress.json"

    @property
    def failure(self) -> Path:
        return self.root / "failure.json"

    @property
    def branch(self) -> Path:
        return self.root / "branch.json"

    @property
    def decisions(self) -> Path:
        return self.root / "decisions.jsonl"

    def labels(self, number: int) -> Path:
        return self.root / "labels" / f"{round_name(number)}.jsonl"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def events(self, name: str) -> Path:
        return self.root / "tensorboard" / name

    @property
    def tracking(self) -> Path:
        return self.root / "tracking.json"

    @property
    def tracking_lock(self) -> Path:
        return self.root / "tracking.lock"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def reference_logps(self) -> Path:
        return self.root / "cache" / "reference_logps"

    @property
    def file_hashes(self) -> Path:
        return self.root / "cache" / "file_hashes.json"

    @property
    def judge_replies(self) -> Path:
        return self.root / "cache" / "judges" / "replies.sqlite"

    @property
    def judge_spending(self) -> Path:
        return self.root / "judge_spending.jsonl"

    def round_events(self, number: int) -> Path:
        return self.events(f"round-{round_name(number)}")

    def growing(self) -> list[Path]:
        """Files that change while the campaign runs and that a machine needs to go on with it."""
        named = (self.current, self.branch, self.waiting, self.decisions, self.judge_spending)
        globs = (*self.root.glob("campaign*.yaml"), *self.root.glob("labels/*.jsonl"))
        candidates = (*globs, *named, self.tracking, self.judge_replies)
        return sorted(path for path in candidates if path.is_file())

    def checkpoints(self) -> list[Path]:
        """The newest whole checkpoint of each unfinished step that has one."""
        every = sorted(self.root.glob(f"rounds/*/.*.partial/{CHECKPOINTS}/[!.]*"))
        return [*{path.parent: path for path in every}.values()]

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def round(self, number: int) -> Path:
        return self.root / "rounds" / round_name(number)

    def round_numbers(self) -> list[int]:
        """Rounds that have a folder, in order."""
        names = (path.name for path in self.root.glob("rounds/*"))
        return sorted(round_number(name) for name in names if name.isdecimal())

    def step(self, number: int, step: str, fingerprint: str) -> Path:
        return self.round(number) / f"{step}-{fingerprint[:FINGERPRINT_SHOWN]}"

    def partial(self, number: int, step: str, fingerprint: str) -> Path:
        return self.round(number) / f".{step}-{fingerprint[:FINGERPRINT_SHOWN]}.partial"

    def partials(self, number: int, step: str) -> list[Path]:
        """Unfinished versions of a step that earlier runs left."""
        return sorted(self.round(number).glob(f".{step}-*.partial"))
