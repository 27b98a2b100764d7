"""A campaign's processes, on this machine or another."""

from math import ceil
from pathlib import Path

from dpo_core.campaign.artifacts import verify_outputs
from dpo_core.campaign.layout import Layout
from dpo_core.children import child_environment
from dpo_core.errors import ArtifactCorrupted, ChildDied
from dpo_core.jobs import ChildJob, Lifetime, Result
from dpo_core.tables import count_rows
from dpo_core.text import counted
from dpo_core.training.results import DpoResult
from flows.compute.executor import Executor, LocalExecutor, Worker, WorkerPlan
from flows.compute.judge_models import JudgeModels
from flows.compute.metering import CostMeter
from flows.compute.pool import WorkerPool
from flows.compute.shards import Done, carry_out_in_shards
from flows.compute.shipping import Shipper
from flows.compute.workers import WorkerNeeds, count_workers, engine_needs, judge_needs
from flows.config import CampaignConfig
from flows.config.compute import Workers
from flows.harness.offline import ENVIRONMENT as OFFLINE
from flows.harness.suite_task import SuiteTask
from generation.jobs import RowsJob, SampleJob, TokenJob
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
    executor: where they run; lm-evaluation-harness, which needs no device, always runs here.
    """

    def __init__(
        self,
        layout: Layout,
        config: CampaignConfig,
        meter: CostMeter,
        progress: CampaignProgress,
        executor: Executor | None = None,
    ) -> None:
        assert isinstance(config.threads, int), "threads are resolved when a campaign is opened"
        self._layout = layout
        self._threads = config.threads
        self._compute = config.compute
        self._meter = meter
        self._progress = progress
        self._here = LocalExecutor()
        self._executor = executor or _executor(config, layout, progress) or self._here
        self._processes = config.training.processes
        self._pools = {
            "sampling": WorkerPool(self._start_engine, self._executor),
            "training": WorkerPool(self._start_trainer),
            "harness": WorkerPool(lambda _: self.start("harness", self._here)),
        }
        self._sampling = config.sampling
        self._engines = 1
        self._told_idle = False
        self._sampler_on_gpu = False
        self.judges = JudgeModels(
            layout,
            config.sampling,
            self._start_judge,
            self._count_judges,
            lambda: self._make_room(config.sampling.keep_worker),
            progress.advance,
            self._executor,
        )

    def sample(self, job: RowsJob[Done]) -> Done:
        """Let engines of the job's config carry it out, each one shard at a time."""
        check_weights(job.policy)
        if self._sampling != job.config:
            self.release("sampling")  # an engine keeps the config that it was made with
        self._sampling = job.config
        if self.running("sampling") is None:
            self._make_room(job.lifetime)
        needs = engine_needs(job.config, job.policy, self._threads)
        self._engines = self._count(self._compute.sampling_workers, needs)
        self._tell_idle_engines(job)
        pool, report = self._pools["sampling"], self._progress.advance
        result = carry_out_in_shards(job, pool, self._layout.root, self._engines, report)
        self._sampler_on_gpu = result.device != "cpu"
        return result

    def _tell_idle_engines(self, job: RowsJob[Done]) -> None:
        """Say once that there are fewer shards than engines that were asked for."""
        wanted, size = self._compute.sampling_workers, job.shard_rows
        if wanted == "auto" or self._told_idle or not isinstance(job, SampleJob):
            return
        rows = count_rows(job.source)
        shards = max(1, ceil(rows / size))
        if shards < wanted:
            self._told_idle = True
            cut = f"{counted(shards, 'shard')} of {rows:,} prompts"
            self._progress.notice(
                f"{shards} of {wanted} engines work, since sampling.shard_prompts {size:,} makes "
                f"{cut}. Lower it to {max(1, rows // wanted):,} or less."
            )

    def tokenise(self, job: TokenJob[Result]) -> Result:
        """Let a sampling process make token ids, which needs no engine."""
        check_weights(job.policy)
        if self.running("sampling") is None:
            self._make_room(job.lifetime)
        return self._ask("sampling", job)

    def train(self, job: ChildJob[Result]) -> Result:
        """Let the training process carry out one job; it has a GPU to itself."""
        if self.running("training") is None:
            self._make_room(job.lifetime)
        stays = False
        try:
            result = self._train(job)
            trainer = self.running("training")
            stays = trainer is not None and not self._take_turns(job.lifetime, trainer.gpus > 0)
        except KeyboardInterrupt:
            self._progress.note("stopping; interrupt again to leave at once")
            if (trainer := self.running("training")) is not None:
                trainer.stop()
            raise
        finally:
            if not stays:
                self.release("training")
        return result

    def _train(self, job: ChildJob[Result]) -> Result:
        """Where a process or a machine of a cluster is lost, begin again: a round goes on from its
        checkpoint."""
        for attempt in range(1, self._executor.attempts + 1):
            trainer, seconds = self._pools["training"].worker()
            try:
                result = self._carry_out(trainer, job).started_in(seconds)
            except ChildDied as error:
                if attempt == self._executor.attempts:
                    raise
                self._progress.notice(
                    f"{error.message}\n  Training begins again, from its last checkpoint "
                    f"(attempt {attempt + 1} of {self._executor.attempts})."
                )
                self.release("training")
            else:
                break
        if trainer.node and isinstance(result, DpoResult):
            nodes = tuple(trainer.node.split(", "))
            result = result.model_copy(update={"nodes": nodes, "attempts": attempt})
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

    def close(self) -> None:
        """End all processes, and let go of the machines that they ran on."""
        self.release()
        self._executor.close()

    def running(self, kind: str) -> Worker | None:
        """The first process of that kind, if it runs."""
        return next(iter(self._pools[kind].running()), None)

    def start(
        self,
        kind: str,
        executor: Executor,
        gpus: int | None = None,
        number: int = 0,
        side_by_side: int = 1,
        threads: int | None = None,
        nodes: int = 1,
    ) -> Worker:
        """Start a process of that kind, and meter its costs. gpus: for itself; None: all. threads:
        of all its processes. nodes: that it works on."""
        name = f"{kind}-{number + 1}" if number else kind
        self._progress.starting(name)
        environment = {**child_environment(self._threads), **_ENVIRONMENTS.get(kind, {})}
        plan = WorkerPlan(
            module=_MODULES[kind],
            log=self._layout.log(name),
            threads=threads or self._threads,
            environment=environment,
            gpus=gpus,
            number=number,
            side_by_side=side_by_side,
            nodes=nodes,
        )
        return self._meter.watch(executor.start(plan))

    def _start_engine(self, number: int) -> Worker:
        gpus = self._sampling.tensor_parallel_size
        return self.start("sampling", self._executor, gpus, number, self._engines)

    def _start_judge(self, number: int, workers: int) -> Worker:
        gpus = self._sampling.tensor_parallel_size
        return self.start("judging", self._executor, gpus, number, workers)

    def _start_trainer(self, _: int) -> Worker:
        gpus = None if self._processes == "auto" else self._processes
        threads, nodes = (gpus or 1) * self._threads, self._compute.nodes
        return self.start("training", self._executor, gpus, threads=threads, nodes=nodes)

    def _count_judges(self, model: str) -> int:
        """Processes side by side for a judge's model."""
        needs = judge_needs(model, self._sampling.tensor_parallel_size, self._threads)
        return self._count(self._compute.judge_workers, needs)

    def _count(self, wanted: Workers, needs: WorkerNeeds) -> int:
        """Processes side by side; a cluster that lacks room for a wanted number says so itself."""
        if wanted != "auto" and self._executor.exclusive:
            return wanted
        return count_workers(wanted, self._executor.machines(), needs)

    def _ask(self, kind: str, job: ChildJob[Result]) -> Result:
        """Let the one process of that kind carry out a job."""
        child, seconds_process = self._pools[kind].worker()
        return self._carry_out(child, job).started_in(seconds_process)

    def _carry_out(self, child: Worker, job: ChildJob[Result]) -> Result:
        progress = self._progress
        return child.carry_out(job, self._layout.root, progress.advance, progress.notice)

    def _make_room(self, lifetime: Lifetime) -> None:
        """End the processes whose memory the next one needs."""
        if self._take_turns(lifetime, self._sampler_on_gpu or self.judges.on_gpu):
            self.release()

    def _take_turns(self, lifetime: Lifetime, on_gpu: bool) -> bool:
        return not keeps_processes(lifetime, on_gpu=on_gpu or self._executor.exclusive)


def keeps_processes(lifetime: Lifetime, *, on_gpu: bool) -> bool:
    """Whether the sampling and training processes stay alive together, as on a CPU."""
    return lifetime == "campaign" or (lifetime == "auto" and not on_gpu)


def _executor(
    config: CampaignConfig, layout: Layout, progress: CampaignProgress
) -> Executor | None:
    """The cluster of the config; None for this machine."""
    compute = config.compute
    if compute.kind == "local":
        layout.workers.unlink(missing_ok=True)  # of a run on a cluster that was killed
        return None
    from flows.compute.ray_executor import RayExecutor

    shipper = None
    if compute.cache_dir is not None and config.storage.url is not None:
        shipper = Shipper(config.storage.url, Path(compute.cache_dir), layout.root)
    return RayExecutor(compute, layout.workers, progress.notice, shipper)


def check_weights(policy: Path) -> None:
    """Raise ArtifactCorrupted for weights that were removed or changed."""
    if not policy.exists():
        raise ArtifactCorrupted(
            f"the weights in {policy} are gone, but a step needs them",
            f"If keep_policies removed them, move their step away (mv {policy.parent} "
            f"{policy.parent}.pruned) and `ratchet run` trains them again.",
        )
    verify_outputs(policy.parent, f"{policy.name}/")
