"""The team of processes that train one round; a single one needs no torch.distributed."""

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
    """This process's place in its team.

    rank: its number of `size`. local_size: processes of the team on this machine. Collective calls
    must be made by all processes of the team: each waits for the others.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1

    @classmethod
    @contextmanager
    def join(cls) -> Iterator["Team"]:
        """Join the team that torchrun started: gloo, and nccl between GPUs."""
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            dist.init_process_group("cpu:gloo,cuda:nccl")
        else:
            dist.init_process_group("gloo")
        local_size = int(os.environ["LOCAL_WORLD_SIZE"])
        yield cls(dist.get_rank(), dist.get_world_size(), local_size)
        dist.destroy_process_group()  # not after an error: it would wait for ended processes

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and reports."""
        return self.rank == 0

    def gather(self, mine: T) -> list[T]:
        """Gather each process's object, by rank, with tensors on this device. A collective call."""
        if self.size == 1:
            return [mine]
        packed = io.BytesIO()
        torch.save(mine, packed)
        gathered = [b""] * self.size
        dist.all_gather_object(gathered, packed.getvalue())
        here = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
        return [torch.load(io.BytesIO(f), map_location=here, weights_only=False) for f in gathered]

    def largest(self, mine: int) -> int:
        """The largest of all processes' numbers. A collective call."""
        return max(self.gather(mine))

    def shares(self, step: Sequence[TrainingPair]) -> list[list[TrainingPair]]:
        """The pairs of one optimiser step by process, with about equally many tokens each."""
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
