"""A campaign's child processes on this machine."""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

from dpo_core.campaign.artifacts import verify_outputs
from dpo_core.campaign.layout import Layout
from dpo_core.children import Child, child_environment
from dpo_core.errors import ArtifactCorrupted
from dpo_core.jobs import ChildJob, Result
from dpo_core.processor import has_gpu
from flows.compute.judge_models import JudgeModels
from flows.compute.metering import CostMeter
from flows.compute.pool import WorkerPool
from flows.compute.shards import Done, carry_out_in_shards
from flows.compute.workers import (
    MachineResources,
    count_workers,
    devices_of,
    engine_needs,
    judge_needs,
)
from flows.config import CampaignConfig
from flows.harness.offline import ENVIRONMENT as OFFLINE
from flows.harness.suite_task import SuiteTask
from generation.config import SamplingConfig
from generation.jobs import RowsJob, TokenJob
from reporting.progress import CampaignProgress

_MODULES = {
    "sampling": "generation.worker",
    "training": "dpo_core.training.train_worker",
    "harness": "flows.harness.worker",
    "judging": "generation.judge_worker",
}
"""Kind of process, which its log is named after → its module."""

_ENVIRONMENTS = {"harness": OFFLINE}


class Processes:
    """Engines sample side by side, one process trains, one runs lm-evaluation-harness, and each
    judge's model has its own. They start at their first request.

    On a GPU a process holds memory, so it ends before one of another kind starts, unless
    sampling.keep_worker says otherwise. config: the campaign's; a round may sample under another.
    """

    def __init__(
        self, layout: Layout, config: CampaignConfig, meter: CostMeter, progress: CampaignProgress
    ) -> None:
        assert isinstance(config.threads, int), "threads are resolved when a campaign is opened"
        self._layout = layout
        self._threads = config.threads
        self._compute = config.compute
        self._meter = meter
        self._progress = progress
        self._pools = {
            "sampling": WorkerPool(self._start_engine),
            "training": WorkerPool(partial(self.start, "training")),
            "harness": WorkerPool(partial(self.start, "harness")),
        }
        self._sampling = config.sampling
        self._engines = 1
        self._sampler_on_gpu = False
        self.judges = JudgeModels(
            layout,
            config.sampling,
            self._start_judge,
            self._count_judges,
            lambda: self._make_room(config.sampling),
            progress.advance,
        )

    def sample(self, job: RowsJob[Done]) -> Done:
        """Let engines of the job's config carry it out, each one shard at a time."""
        self._prepare_engines(job.config, job.policy)
        needs = engine_needs(job.config, job.policy, self._threads)
        self._engines = count_workers(self._compute.sampling_workers, self._machine, needs)
        pool, report = self._pools["sampling"], self._progress.advance
        result = carry_out_in_shards(job, pool, self._layout.root, self._engines, report)
        self._sampler_on_gpu = result.device != "cpu"
        return result

    def tokenise(self, config: SamplingConfig, job: TokenJob[Result]) -> Result:
        """Let a sampling process make token ids, which needs no engine."""
        self._prepare_engines(config, job.policy)
        return self._ask("sampling", job)

    def train(self, config: SamplingConfig, job: ChildJob[Result]) -> Result:
        """Let the training process carry out one job; it has a GPU to itself."""
        if self.running("training") is None:
            self._make_room(config)
        stays = False
        try:
            result = self._ask("training", job)
            trainer = self.running("training")
            stays = trainer is not None and not _one_at_a_time(config, on_gpu=trainer.gpus > 0)
        except KeyboardInterrupt:
            self._progress.note("stopping; interrupt again to leave at once")
            if (trainer := self.running("training")) is not None:
                trainer.stop()
            raise
        finally:
            if not stays:
                self.release("training")
        return result

    def ask_harness(self, job: SuiteTask[Result]) -> Result:
        """Let the process that has lm-evaluation-harness carry out a job."""
        return self._ask("harness", job)

    def release(self, *kinds: str) -> None:
        """End these processes, or all of them; they are started again when needed."""
        for kind in kinds or tuple(self._pools):
            self._pools[kind].release()
        if not kinds:
            self.judges.release()

    def running(self, kind: str) -> Child | None:
        """The first process of that kind, if it runs."""
        return next(iter(self._pools[kind].running()), None)

    def start(self, kind: str, number: int = 0, gpus: Sequence[str] = ()) -> Child:
        """Start a process of that kind, and meter its costs. gpus: all that it may see, if any are
        named."""
        name = f"{kind}-{number + 1}" if number else kind
        self._progress.starting(name)
        environment = {**child_environment(self._threads), **_ENVIRONMENTS.get(kind, {})}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        child = Child.start(_MODULES[kind], self._layout.log(name), environment)
        child.first_gpu = self._machine.gpus.index(gpus[0]) if gpus else 0
        return self._meter.watch(child)

    def _start_engine(self, number: int) -> Child:
        gpus = devices_of(number, self._machine, self._sampling.tensor_parallel_size)
        return self.start("sampling", number, gpus if self._engines > 1 else ())

    def _start_judge(self, number: int, workers: int) -> Child:
        gpus = devices_of(number, self._machine, self._sampling.tensor_parallel_size)
        return self.start("judging", number, gpus if workers > 1 else ())

    def _count_judges(self, model: str) -> int:
        """Processes side by side for a judge's model."""
        needs = judge_needs(model, self._sampling.tensor_parallel_size, self._threads)
        return count_workers(self._compute.judge_workers, self._machine, needs)

    def _prepare_engines(self, config: SamplingConfig, policy: Path) -> None:
        check_weights(policy)
        if self._sampling != config:
            self.release("sampling")  # an engine keeps the config that it was made with
        self._sampling = config
        if self.running("sampling") is None:
            self._make_room(config)

    def _ask(self, kind: str, job: ChildJob[Result]) -> Result:
        """Let the one process of that kind carry out a job."""
        child, seconds_process = self._pools[kind].worker()
        progress = self._progress
        result = child.carry_out(job, self._layout.root, progress.advance, progress.notice)
        return result.started_in(seconds_process)

    def _make_room(self, config: SamplingConfig) -> None:
        """End the processes whose memory the next one needs."""
        if _one_at_a_time(config, on_gpu=self._sampler_on_gpu or self.judges.on_gpu):
            self.release()

    @cached_property
    def _machine(self) -> MachineResources:
        return MachineResources.of_this_machine()


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
