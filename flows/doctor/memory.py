"""Estimate of a campaign's memory, part by part, against what the device has.

Computed from shapes, without an allocator. Memory of libraries was measured on a CPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dpo_core.config import TrainingOptions
from dpo_core.model_shape import Shape
from dpo_core.processor import available_threads
from dpo_core.training.passes.model_size import CPU_TOKENS, HEAD_ROWS, ModelSize
from flows.compute.workers import (
    VLLM_LIBRARIES_GIB,
    MachineResources,
    WorkerNeeds,
    count_workers,
    vllm_cache_gib,
)
from flows.config import CampaignConfig
from flows.config.precision import with_precision
from flows.doctor.findings import DoctorFinding, note, ok, problem

_GIB = 2**30
_FLOAT = 4
_TRAINING_LIBRARIES_GIB, _SAMPLING_LIBRARIES_GIB = 0.49, 0.45
"""Resident memory of each process with its libraries and no model, on a CPU, without vLLM."""
_LOGIT_COPIES = 2
_TIGHT = 0.8
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class MemoryPart:
    """One consumer of memory."""

    name: str
    gib: float


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of the training process and of each engine that samples on one device. `together`:
    all run at the same time."""

    training: tuple[MemoryPart, ...]
    sampling: tuple[MemoryPart, ...]
    together: bool
    engines: int = 1

    @property
    def training_gib(self) -> float:
        return sum(part.gib for part in self.training)

    @property
    def sampling_gib(self) -> float:
        return sum(part.gib for part in self.sampling)

    @property
    def most_gib(self) -> float:
        """Peak memory."""
        processes = (self.training_gib, self.engines * self.sampling_gib)
        return sum(processes) if self.together else max(processes)


@dataclass(frozen=True)
class Device:
    """`count` GPUs with `gib` of memory each, or one CPU."""

    gpu: bool
    gib: float
    count: int = 1

    @property
    def name(self) -> str:
        return f"each of {self.count} GPUs" if self.count > 1 else "the GPU" if self.gpu else "RAM"


def size_of(shape: Shape | None) -> ModelSize | None:
    """What memory depends on; None where the number of parameters is unknown."""
    if shape is None or shape.parameters is None:
        return None
    return ModelSize(shape.parameters, shape.layers, shape.hidden, shape.inner)


def estimate(
    shape: Shape, size: ModelSize, config: CampaignConfig, device: Device
) -> MemoryEstimate:
    """Memory of training and sampling on one device."""
    if not device.gpu:
        config = with_precision(config)
    keep = config.sampling.keep_worker
    memory = MemoryEstimate(
        tuple(_training(shape, size, config, device)),
        tuple(_sampling(shape, size, config, device)),
        together=keep == "campaign" or (keep == "auto" and not device.gpu),
    )
    return memory if device.gpu else replace(memory, engines=_engines(config, device, memory))


def _engines(config: CampaignConfig, device: Device, memory: MemoryEstimate) -> int:
    """Engines side by side on a CPU."""
    cores = available_threads()
    threads = cores if config.threads == "auto" else config.threads
    if config.sampling.engine != "vllm":
        return 1
    needs = WorkerNeeds(gpus=1, threads=threads, gib=memory.sampling_gib)
    wanted = config.compute.sampling_workers
    return count_workers(wanted, [MachineResources((), cores, device.gib)], needs)


def _training(
    shape: Shape, size: ModelSize, config: CampaignConfig, device: Device
) -> Iterator[MemoryPart]:
    training = config.training
    value_bytes = _compute_bytes(training, device)
    processes = training.processes if isinstance(training.processes, int) else device.count
    if training.lora is None:
        trained, frozen = size.parameters / processes, 0.0
    else:
        trained, frozen = _adapters(size, training.lora.rank), value_bytes * size.parameters
    if frozen:
        yield _part("frozen weights", frozen / processes)
    yield _part("weights, float32", _FLOAT * trained)
    yield _part("gradients", _FLOAT * trained)
    yield _part("AdamW's state", 2 * _FLOAT * trained)
    tokens = _tokens_at_a_time(shape, config)
    kept = size.kept_bytes(value_bytes, checkpointing=training.gradient_checkpointing)
    yield _part(f"activations of {tokens:,} tokens", tokens * kept)
    yield _part("logits", _LOGIT_COPIES * _FLOAT * HEAD_ROWS * shape.vocabulary)
    if not device.gpu:
        yield MemoryPart("libraries", _TRAINING_LIBRARIES_GIB)


def _sampling(
    shape: Shape, size: ModelSize, config: CampaignConfig, device: Device
) -> Iterator[MemoryPart]:
    sampling = config.sampling
    value_bytes = _BYTES[sampling.dtype_on("cuda" if device.gpu else "cpu")]
    yield _part("weights", value_bytes * size.parameters / sampling.tensor_parallel_size)
    if sampling.engine == "vllm" and not device.gpu:
        yield MemoryPart("key-value cache", vllm_cache_gib())
        yield MemoryPart("libraries", VLLM_LIBRARIES_GIB)
        return
    token_bytes = 2 * shape.layers * shape.kv_heads * shape.head_dim * value_bytes
    length = sampling.max_model_len or shape.positions or 0
    yield _part(f"key-value cache of one sequence, {length:,} tokens", token_bytes * length)
    if not device.gpu:
        yield MemoryPart("libraries", _SAMPLING_LIBRARIES_GIB)


def _part(name: str, size_bytes: float) -> MemoryPart:
    return MemoryPart(name, size_bytes / _GIB)


def _compute_bytes(training: TrainingOptions, device: Device) -> int:
    wanted = training.compute_dtype
    return _BYTES[
        "bfloat16" if wanted == "auto" and device.gpu else wanted.replace("auto", "float32")
    ]


def _tokens_at_a_time(shape: Shape, config: CampaignConfig) -> int:
    """Tokens of one forward pass: at least the longest pair, whose prompt counts once."""
    wanted = config.training.micro_batch_tokens
    length = config.sampling.max_model_len or shape.positions or 0
    return max(CPU_TOKENS if wanted == "auto" else wanted, length + config.sampling.max_tokens)


def _adapters(size: ModelSize, rank: int) -> float:
    """Number of adapter weights on all linear layers of a Llama-shaped model."""
    return size.layers * rank * (4 * 2 * size.hidden + 3 * (size.hidden + size.inner))


def check_memory(memory: MemoryEstimate, device: Device) -> DoctorFinding:
    """Whether the estimate fits the device, with every part."""
    engines = f"{memory.engines} × " if memory.engines > 1 else ""
    what = (
        f"{memory.most_gib:.2f} GiB of {device.gib:.1f} GiB of {device.name}: training "
        f"{format_parts(memory.training)}; sampling {engines}{format_parts(memory.sampling)}"
        f"{'; both at the same time' if memory.together else ''}"
    )
    remedy = (
        "Take a smaller model, training.lora, training.gradient_checkpointing or fewer "
        "training.micro_batch_tokens; sampling.keep_worker: step frees the sampler's memory, and "
        "fewer compute.sampling_workers take less."
    )
    if memory.most_gib > device.gib:
        return problem("memory", what, "policy", remedy)
    if memory.most_gib > _TIGHT * device.gib:
        return note("memory", what, "policy", remedy)
    return ok("memory", what, "policy")


def format_parts(parts: tuple[MemoryPart, ...]) -> str:
    listed = ", ".join(f"{part.name} {part.gib:.3g}" for part in parts)
    return f"{sum(part.gib for part in parts):.2f} ({listed})"
