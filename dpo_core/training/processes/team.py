"""The processes that train one round together; one alone needs no torch.distributed."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from dpo_core.training.pairs.batching import TrainingPair

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process is number `rank` of `size`; `beside` of them share this machine's processors.

    What is called together must be called by all: each waits for the others in it.
    """

    rank: int = 0
    size: int = 1
    beside: int = 1

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator["Team"]:
        """The team that torchrun made this process part of: gloo, and nccl between GPUs."""
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            dist.init_process_group("cpu:gloo,cuda:nccl")
        else:
            dist.init_process_group("gloo")
        beside = int(os.environ["LOCAL_WORLD_SIZE"])
        yield cls(dist.get_rank(), dist.get_world_size(), beside)
        dist.destroy_process_group()  # after an error others may be gone, and it would wait

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and reports."""
        return self.rank == 0

    def gather(self, mine: T) -> list[T]:
        """Called together: what each process brings, by rank, with its tensors on this device."""
        if self.size == 1:
            return [mine]
        packed = io.BytesIO()
        torch.save(mine, packed)
        found = [b""] * self.size
        dist.all_gather_object(found, packed.getvalue())
        here = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
        return [torch.load(io.BytesIO(f), map_location=here, weights_only=False) for f in found]

    def largest(self, mine: int) -> int:
        """Called together."""
        return max(self.gather(mine))

    def shares(self, step: Sequence[TrainingPair]) -> list[list[TrainingPair]]:
        """The pairs of one optimiser step by process, with about as many tokens each."""
        if self.size == 1:
            return [list(step)]
        shares: list[list[TrainingPair]] = [[] for _ in range(self.size)]
        tokens = [0] * self.size
        for pair in sorted(step, key=lambda p: (-p.tokens, p.pair_id)):
            lightest = tokens.index(min(tokens))
            shares[lightest].append(pair)
            tokens[lightest] += pair.tokens
        return shares


ALONE = Team()
