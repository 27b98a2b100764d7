"""The sizing table of docs/scale.md, by the estimates that `ratchet doctor` makes."""

from collections.abc import Iterator
from pathlib import Path

from dpo_core.model_shape import Shape
from flows.config import CampaignConfig, validate
from flows.doctor.machine import checkpoint_gib, round_gib, weights_gib
from flows.doctor.memory import Device, MemoryEstimate, estimate, size_of

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
BEGIN, END = "<!-- sizing:begin -->\n", "<!-- sizing:end -->"

GPU_GIB, FULL = 80, 0.8
SHAPES = {
    "1B": Shape(1_235_814_400, 16, 2048, 8192, 128_256, 8, 64, 131_072),
    "8B": Shape(8_030_261_248, 32, 4096, 14336, 128_256, 8, 128, 8192),
    "70B": Shape(70_553_706_496, 80, 8192, 28672, 128_256, 8, 128, 8192),
}
"""As config.json of Llama 3.2 1B and Llama 3 8B and 70B has them."""
HEAD = [
    "| | GPUs for an engine | GPUs for training, all weights | with LoRA of rank 16 "
    "| a policy on disk | training adds, while it runs | answers of a round, at most |",
    "|---|---|---|---|---|---|---|",
]


def page(text: str) -> str:
    """The page with its table as it must be."""
    before, rest = text.split(BEGIN)
    lines = [*HEAD, *(row(name, shape) for name, shape in SHAPES.items())]
    return before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1]


def row(name: str, shape: Shape) -> str:
    parts, lora = config_of(1), config_of(1, lora=True)
    disk = (weights_gib(shape), checkpoint_gib(shape), round_gib(parts))
    cells = [
        gpus(sampling(shape)),
        gpus(training(shape, parts)),
        gpus(training(shape, lora)),
        *(f"{gib:,.1f} GiB" for gib in disk),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def config_of(tensor_parallel_size: int, *, lora: bool = False) -> CampaignConfig:
    """A round of 4,096 prompts with 8 answers of up to 1,024 tokens."""
    raw = {
        "name": "sizing",
        "policy": {"model": "somebody/a-model"},
        "prompts": {"function": "examples.reviews.grammar:prompts", "per_round": 4096},
        "judge": {"kind": "rule", "function": "examples.reviews.judge:score"},
        "sampling": {
            "samples_per_prompt": 8,
            "max_tokens": 1024,
            "max_model_len": 2048,
            "tensor_parallel_size": tensor_parallel_size,
        },
        "training": {"gradient_checkpointing": True} | ({"lora": {"rank": 16}} if lora else {}),
    }
    return validate(raw, "scripts/scale_doc.py")


def memory(shape: Shape, config: CampaignConfig, count: int) -> MemoryEstimate:
    size = size_of(shape)
    assert size is not None, "the number of parameters is known"
    return estimate(shape, size, config, Device(gpu=True, gib=GPU_GIB, count=count))


def sampling(shape: Shape) -> Iterator[tuple[int, float]]:
    for count in (1, 2, 4, 8):
        yield count, memory(shape, config_of(count), count).sampling_gib


def training(shape: Shape, config: CampaignConfig) -> Iterator[tuple[int, float]]:
    for count in (1, 2, 4, 8, 16, 32, 64, 128):
        yield count, memory(shape, config, count).training_gib


def gpus(needs: Iterator[tuple[int, float]]) -> str:
    """The fewest that leave room to spare on each."""
    count, gib = next((count, gib) for count, gib in needs if gib <= FULL * GPU_GIB)
    return f"{count}, with {gib:.0f} GiB on each"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
