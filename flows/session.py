"""What every step of a campaign works with: config, store, processes and progress."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any, Self

from dpo_core.campaign.artifacts import Artifact, StepResult, current_artifact
from dpo_core.campaign.branching import own_entries
from dpo_core.campaign.inputs import Input, Inputs, as_made
from dpo_core.campaign.layout import SHARDS, Layout
from dpo_core.campaign.step_cache import StepCache
from dpo_core.campaign.store import Recipe, StepRunner, Store
from dpo_core.hashing import derive_seed, policy_id
from dpo_core.jobs import ChildJob, Result
from dpo_core.seen_files import persistent_sha256
from dpo_core.storage.uploads import Uploads
from dpo_core.training.results import BaseFacts
from flows.compute.judge_models import JudgeModels
from flows.compute.metering import CostMeter
from flows.compute.processes import Processes
from flows.config import CampaignConfig, config_of_round
from flows.older.fingerprints import older_fingerprints
from flows.tracking.background import Tracking
from generation.jobs import OnEngine, RowsJob, TokenJob
from reporting.progress import CampaignProgress

Make = Callable[[Path, Inputs], StepResult]
"""Writes a step's outputs into a folder, from its inputs."""


@dataclass(frozen=True)
class Session:
    """A running campaign. A context manager that ends all child processes on exit.

    config: of the campaign, or of the round or attempt that this view is for. steps: runs steps or
    finds them finished; the store, except in replays and replaced attempts.
    """

    config: CampaignConfig
    layout: Layout
    store: Store
    steps: StepRunner
    processes: Processes
    progress: CampaignProgress
    tracking: Tracking
    file_hashes: Callable[[Path], str]
    meter: CostMeter
    uploads: Uploads | None = None
    bases: StepCache[BaseFacts] | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        config: CampaignConfig,
        progress: CampaignProgress,
        uploads: Uploads | None = None,
        reuse_base: bool = False,
    ) -> Self:
        """`config` must have its `threads` resolved. uploads: to the campaign's bucket. reuse_base:
        take the base from the user's cache, and keep it there."""
        assert isinstance(config.threads, int), "threads are resolved when a campaign is opened"
        layout, store = Layout(root), Store(root, config.threads)
        meter = CostMeter(layout.judge_spending, own_entries(layout, store.entries))
        processes = Processes(layout, config, meter, progress)
        if uploads is not None:
            judges = processes.judges
            judges.models = replace(judges.models, before_paying=uploads.wait_for_steps)
        return cls(
            config=config,
            layout=layout,
            store=store,
            steps=store,
            processes=processes,
            progress=progress,
            tracking=Tracking(layout, config.track, progress.notice),
            file_hashes=persistent_sha256(layout.file_hashes),
            meter=meter,
            uploads=uploads,
            bases=StepCache.of_user("bases", BaseFacts, progress.note) if reuse_base else None,
        )

    def with_config(self, config: CampaignConfig) -> Self:
        """This session under the config of a round or an attempt, with the campaign's threads."""
        return replace(self, config=config.model_copy(update={"threads": self.config.threads}))

    def at_round(self, number: int) -> Self:
        """This session under the config of that round, which in a branch may be the parent's."""
        return self.with_config(config_of_round(self.store.layout, self.config, number))

    @property
    def threads(self) -> int:
        """Threads of each process; fixed when the campaign was created."""
        assert isinstance(self.config.threads, int), "resolved when the session was opened"
        return self.config.threads

    @property
    def judges(self) -> JudgeModels:
        """The judges' models."""
        return self.processes.judges

    def step(
        self,
        number: int,
        name: str,
        make: Make,
        *,
        config: Mapping[str, object],
        inputs: Mapping[str, Input] | None = None,
        functions: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Run one step, or find it finished, and show it; see dpo_core.campaign.store.

        `make` reads nothing of the campaign but its inputs.
        """
        if self.uploads is not None:
            self.uploads.check()
        self.progress.step_started(number, name)
        given = Inputs(name, self.resolve_gone(number, name, inputs or {}))
        recipe = Recipe(number, name, config, given.hashes, functions or {})
        if identities := self.store.older_identities(number, name):
            older = older_fingerprints(recipe, identities, self.config, self.layout)
            recipe = replace(recipe, older=tuple(older))
        artifact = self.steps.run(recipe, self.meter.measure(lambda f: _make(make, f, given)))
        self.progress.step_finished(artifact)
        return artifact

    def resolve_gone(
        self, number: int, name: str, inputs: Mapping[str, Input]
    ) -> Mapping[str, Input]:
        """The inputs; those that are gone get the hash that the step's current version recorded."""
        if not any(each.gone for each in inputs.values()):
            return inputs
        current = current_artifact(self.store.layout, number, name)
        return as_made(inputs, current.entry.inputs if current is not None else {})

    def file_input(self, path: Path) -> Input:
        """A user's file, known by its contents."""
        return Input.of_file(path, self.file_hashes)

    def model_input(self, path: Path) -> Input:
        """A user's model, a folder or a GGUF file, known by all files that change its answers."""
        try:
            return Input(policy_id(path, self.file_hashes), path)
        except FileNotFoundError:  # finished steps do not need it
            return Input.of_gone(path)

    def seed(self, *parts: Any) -> int:
        """A seed derived from the campaign's seed and `parts`."""
        return derive_seed(self.config.seed, *parts)

    def sample(self, job: RowsJob[OnEngine]) -> OnEngine:
        """Let engines carry out a job for each row of a file, and wait for its result."""
        return self.processes.sample(job)

    def tokenise(self, job: TokenJob[Result]) -> Result:
        """Ask the sampling process for token ids."""
        return self.processes.tokenise(job)

    def train(self, job: ChildJob[Result]) -> Result:
        """Let the training process carry out one job, and wait for it."""
        return self.processes.train(job)

    def wait_for_uploads(self) -> None:
        """Return once all finished steps are in the campaign's bucket, if it has one."""
        if self.uploads is not None:
            self.uploads.wait_for_steps()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.processes.close()
        self.tracking.close()


def _make(make: Make, folder: Path, inputs: Inputs) -> StepResult:
    """What `make` returns; shards that it left, of jobs that were cut otherwise, are removed."""
    result = make(folder, inputs)
    rmtree(folder / SHARDS, ignore_errors=True)
    return result
