"""A campaign's child processes on this machine."""

from collections.abc import Mapping
from pathlib import Path

from dpo_core.campaign.artifacts import verify_outputs
from dpo_core.campaign.layout import Layout
from dpo_core.children import Child, child_environment
from dpo_core.errors import ArtifactCorrupted
from dpo_core.jobs import ChildJob, Result
from dpo_core.processor import has_gpu
from flows.compute.judge_models import JudgeModels
from flows.compute.metering import CostMeter
from flows.config import CampaignConfig
from flows.harness.offline import ENVIRONMENT as OFFLINE
from flows.harness.suite_task import TaskJob
from generation.config import SamplingConfig
from generation.jobs import EngineJob, OnEngine, TokenJob
from reporting.progress import CampaignProgress

_MODULES = {
    "sampling": "generation.worker",
    "training": "dpo_core.training.train_worker",
    "harness": "flows.harness.worker",
}
"""Name of a process and of its log → its module."""


class Processes:
    """One process samples, one trains, one runs lm-evaluation-harness, and each judge's model has
    one. They start at their first request.

    On a GPU a process holds memory, so it ends before another starts, unless sampling.keep_worker
    says otherwise. config: the campaign's; a round may sample under another one.
    """

    def __init__(
        self, layout: Layout, config: CampaignConfig, meter: CostMeter, progress: CampaignProgress
    ) -> None:
        assert isinstance(config.threads, int), "threads are resolved when a campaign is opened"
        self._layout = layout
        self._threads = config.threads
        self._meter = meter
        self._progress = progress
        self._running: dict[str, Child] = {}
        self._sampling = config.sampling
        self._sampler_on_gpu = False
        self.judges = JudgeModels(
            layout,
            config.sampling,
            lambda module, log: self.start(module, log),
            lambda: self._make_room(config.sampling),
            progress.advance,
        )

    def sample(self, job: EngineJob[OnEngine]) -> OnEngine:
        """Let the sampling process carry out a job, with an engine of its config."""
        sampler, seconds_process = self._sampler(job.config, job.policy)
        result = sampler.carry_out(job, self._layout.root, self._progress.advance)
        self._sampler_on_gpu = result.device != "cpu"
        return result.started_in(seconds_process)

    def tokenise(self, config: SamplingConfig, job: TokenJob[Result]) -> Result:
        """Let the sampling process make token ids, which needs no engine."""
        sampler, seconds_process = self._sampler(config, job.policy)
        result = sampler.carry_out(job, self._layout.root, self._progress.advance)
        return result.started_in(seconds_process)

    def train(self, config: SamplingConfig, job: ChildJob[Result]) -> Result:
        """Let the training process carry out one job; it has a GPU to itself."""
        trainer, seconds_process = self._process("training", config)
        stays = False
        try:
            progress = self._progress
            result = trainer.carry_out(job, self._layout.root, progress.advance, progress.notice)
            stays = not _one_at_a_time(config, on_gpu=trainer.gpus > 0)
        except KeyboardInterrupt:
            self._progress.note("stopping; interrupt again to leave at once")
            trainer.stop()
            raise
        finally:
            if not stays:
                self.release("training")
        return result.started_in(seconds_process)

    def ask_harness(self, job: TaskJob[Result]) -> Result:
        """Let the process that has lm-evaluation-harness carry out a job."""
        running = self._usable("harness") or self._start("harness", OFFLINE)
        return running.carry_out(job, self._layout.root, self._progress.advance)

    def release(self, *names: str) -> None:
        """End these processes, or all of them; they are started again when needed."""
        for name in names or tuple(self._running):
            if name in self._running:
                self._running.pop(name).close()
        if not names:
            self.judges.release()

    def running(self, name: str) -> Child | None:
        """The process of that name, if it runs."""
        return self._running.get(name)

    def start(self, module: str, log: str, env: Mapping[str, str] | None = None) -> Child:
        """Start a process that runs `module`, and meter its costs."""
        self._progress.starting(log)
        environment = {**child_environment(self._threads), **(env or {})}
        return self._meter.watch(Child.start(module, self._layout.log(log), environment))

    def _sampler(self, config: SamplingConfig, policy: Path) -> tuple[Child, float]:
        check_weights(policy)
        if self._sampling != config:
            self.release("sampling")  # an engine keeps the config that it was made with
        self._sampling = config
        return self._process("sampling", config)

    def _process(self, name: str, config: SamplingConfig) -> tuple[Child, float]:
        """The process of that name, and the seconds that starting it took now."""
        running = self._usable(name)
        if running is not None:
            return running, 0.0
        self._make_room(config)
        started = self._start(name)
        return started, started.seconds_start

    def _usable(self, name: str) -> Child | None:
        running = self._running.get(name)
        if running is not None and not running.usable():
            self.release(name)
            return None
        return running

    def _start(self, name: str, env: Mapping[str, str] | None = None) -> Child:
        child = self._running[name] = self.start(_MODULES[name], name, env)
        return child

    def _make_room(self, config: SamplingConfig) -> None:
        """End the processes whose memory the next one needs."""
        if _one_at_a_time(config, on_gpu=self._sampler_on_gpu or self.judges.on_gpu):
            self.release()


def keeps_processes(config: SamplingConfig) -> bool:
    """Whether the sampling and training processes stay alive together, as on a CPU."""
    return not _one_at_a_time(config, on_gpu=has_gpu())


def _one_at_a_time(config: SamplingConfig, *, on_gpu: bool) -> bool:
    return config.keep_worker == "step" or (config.keep_worker == "auto" and on_gpu)


def check_weights(policy: Path) -> None:
    """Raise ArtifactCorrupted for weights that were removed or changed."""
    if not policy.exists():
        raise ArtifactCorrupted(
            f"the weights in {policy} are gone, but a step needs them",
            f"If keep_policies removed them, move their step away (mv {policy.parent} "
            f"{policy.parent}.pruned) and `ratchet run` trains them again.",
        )
    verify_outputs(policy.parent, f"{policy.name}/")
