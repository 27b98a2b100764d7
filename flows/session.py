"""One running campaign: its config and store, the processes it owns, the progress it shows."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import Artifact, StepResult, current_artifact, verify_outputs
from dpo_core.campaign.branching import own_entries
from dpo_core.campaign.inputs import Input, Inputs, as_made
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.store import Recipe, Store
from dpo_core.children import Child, child_environment
from dpo_core.errors import ArtifactCorrupted
from dpo_core.hashing import derive_seed, policy_id
from dpo_core.processor import has_gpu
from dpo_core.seen_files import persistent_sha256
from flows.compute.judge_models import JudgeModels
from flows.compute.metering import CostMeter
from flows.config import CampaignConfig
from flows.harness.offline import ENVIRONMENT as OFFLINE
from flows.older.fingerprints import older_fingerprints
from flows.progress import CampaignProgress
from flows.tracking.tracking import Tracking
from generation.config import SamplingConfig

Make = Callable[[Path, Inputs], StepResult]
"""Makes a step in a folder, out of its inputs."""


@dataclass
class _Sampling:
    """The sampling process, if one runs, the config of its engine, and whether it took a GPU."""

    child: Child | None = None
    config: SamplingConfig | None = None
    on_gpu: bool = False


@dataclass
class _Process:
    """The training process, or that of lm-evaluation-harness, if one runs."""

    child: Child | None = None


class Session:
    """What every step gets. A context manager: on exit no child process is left."""

    def __init__(self, root: Path, config: CampaignConfig, progress: CampaignProgress) -> None:
        assert isinstance(config.threads, int), "threads are resolved when a campaign is opened"
        self.config = config
        self.progress = progress
        self.layout = Layout(root)
        self.store = Store(root, config.threads)
        own = own_entries(self.layout, self.store.entries)
        self._meter = CostMeter(self.layout.judge_spending, own)
        self.file_hashes = persistent_sha256(self.layout.file_hashes)
        self.tracking = Tracking(self.layout, config.track, progress.notice)
        self._sampling = _Sampling()
        self._training = _Process()
        self._harness = _Process()
        self.judges = JudgeModels(
            self.layout, config.sampling, self._start, self._make_room, progress.advance
        )

    def under(self, config: CampaignConfig) -> "Session":
        """This session under another config: the same folder, store, progress and processes.

        For a round, or a part of one, whose config is not the campaign's. Threads stay those of
        the campaign, and its processes end with the session that this is a view of.
        """
        view = copy.copy(self)
        view.config = config.model_copy(update={"threads": self.config.threads})
        return view

    def step(
        self,
        number: int,
        name: str,
        make: Make,
        *,
        config: Mapping[str, Any],
        inputs: Mapping[str, Input] | None = None,
        functions: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Run or skip one step and show it; see dpo_core.campaign.store.

        `make` gets the folder to write into, and the inputs: what it reads of the campaign it has
        from them alone.
        """
        self.progress.step_started(number, name)
        given = Inputs(name, self.as_made(number, name, inputs or {}))
        recipe = Recipe(number, name, config, given.hashes, functions or {})
        if identities := self.store.older_identities(number, name):
            older = older_fingerprints(recipe, identities, self.config, self.layout)
            recipe = replace(recipe, older=tuple(older))
        artifact = self.store.run(recipe, self._meter.measured(lambda f: make(f, given)))
        self.progress.step_finished(artifact)
        return artifact

    def as_made(self, number: int, name: str, inputs: Mapping[str, Input]) -> Mapping[str, Input]:
        """The inputs; those that are gone as the valid version of the step had them."""
        if not any(each.gone for each in inputs.values()):
            return inputs
        made = current_artifact(self.store.layout, number, name)
        return as_made(inputs, made.entry.inputs if made is not None else {})

    def file_input(self, path: Path) -> Input:
        """A file of the user, by its contents."""
        return Input.of_file(path, self.file_hashes)

    def model_input(self, path: Path) -> Input:
        """A model of the user, a folder or a GGUF file, by all that changes what it says."""
        try:
            return Input(policy_id(path, self.file_hashes), path)
        except FileNotFoundError:  # finished steps do not need it
            return Input.of_gone(path)

    def seed(self, *parts: Any) -> int:
        """A seed that depends on the campaign's seed and `parts`."""
        return derive_seed(self.config.seed, *parts)

    def sample(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the sampling process, started on first use, and wait for its answer."""
        sampler, seconds_process = self._sampler_for(request)
        config = self.config.sampling.model_dump(mode="json")
        result = sampler.ask({**request, "config": config}, self.progress.advance)
        result["seconds_start"] += seconds_process
        self._sampling.on_gpu = result["device"] != "cpu"
        return result

    def tokenise(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the same process for token ids, for which it needs no engine."""
        sampler, seconds_process = self._sampler_for(request)
        return {**sampler.ask(request, self.progress.advance), "seconds_start": seconds_process}

    def _sampler_for(self, request: Mapping[str, Any]) -> tuple[Child, float]:
        """The sampling process, and the seconds that it took to start it just now."""
        check_weights(Path(request["policy"]))
        running = self._sampling.child
        if running is not None:
            if running.usable() and self._sampling.config == self.config.sampling:
                return running, 0.0
            running.close()  # an engine keeps the config that it was made with
        self._make_room()
        started = self._start("generation.worker", "sampling")
        self._sampling.child, self._sampling.config = started, self.config.sampling
        return started, started.seconds_start

    def train(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the training process, started on first use, for one job; a GPU it has to itself."""
        trainer, seconds_process = self._trainer()
        stays = False
        try:
            result = trainer.ask(request, self.progress.advance, self.progress.notice)
            stays = not self._one_at_a_time(on_gpu=trainer.gpus > 0)
        except KeyboardInterrupt:
            self.progress.note("stopping; interrupt again to leave at once")
            trainer.stop()
            raise
        finally:
            if not stays:
                self._end_training()
        return {**result, "seconds_start": seconds_process}

    def _trainer(self) -> tuple[Child, float]:
        """The training process, and the seconds that it took to start it just now."""
        running = self._training.child
        if running is not None:
            if running.usable():
                return running, 0.0
            running.close()
        self._make_room()
        started = self._training.child = self._start("dpo_core.training.train_worker", "training")
        return started, started.seconds_start

    @property
    def keeps_processes(self) -> bool:
        """Whether those that sample and train stay beside each other, as on a CPU."""
        return not self._one_at_a_time(on_gpu=has_gpu())

    def ask_harness(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the process that has lm-evaluation-harness, started on first use."""
        running = self._harness.child
        if running is None or not running.usable():
            if running is not None:
                running.close()
            running = self._start("flows.harness.worker", "harness", OFFLINE)
            self._harness.child = running
        return running.ask(request, self.progress.advance)

    def _one_at_a_time(self, *, on_gpu: bool) -> bool:
        """Whether a process makes room for the next one: on a GPU, it holds its memory."""
        keep = self.config.sampling.keep_worker
        return keep == "step" or (keep == "auto" and on_gpu)

    def _make_room(self) -> None:
        """End the children that would hold what the next one needs."""
        if self._one_at_a_time(on_gpu=self._sampling.on_gpu or self.judges.on_gpu):
            self.release_children()

    def release_children(self) -> None:
        """End the processes of this session; they are started again when needed."""
        self.release_sampler()
        self._end_training()
        self.judges.release()
        if self._harness.child is not None:
            self._harness.child.close()
            self._harness.child = None

    def release_sampler(self) -> None:
        """End the sampling process: its engine holds policies of one architecture."""
        if self._sampling.child is not None:
            self._sampling.child.close()
            self._sampling.child = None

    def _end_training(self) -> None:
        if self._training.child is not None:
            self._training.child.close()
            self._training.child = None

    def _start(self, module: str, log: str, more: Mapping[str, str] | None = None) -> Child:
        self.progress.starting(log)
        assert isinstance(self.config.threads, int), "checked when the session was made"
        env = {**child_environment(self.config.threads), **(more or {})}
        return self._meter.watch(Child.start(module, self.layout.log(log), env))

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.release_children()
        self.tracking.close()


def check_weights(policy: Path) -> None:
    """Raise ArtifactCorrupted for weights that were removed, or are not what was recorded."""
    if not policy.exists():
        raise ArtifactCorrupted(
            f"the weights in {policy} are gone, but a step needs them again",
            f"If keep_policies removed them, move their step away (mv {policy.parent} "
            f"{policy.parent}.pruned) and `ratchet run` trains them again.",
        )
    verify_outputs(policy.parent, f"{policy.name}/")
