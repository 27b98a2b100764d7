"""A disk cache of reference log-probs, for rounds that are trained again.

One file holds those of one round's pairs. Its name is the hash of everything that determines their
bits: the weights, every token id, the dtype, and how pairs are ordered and cut into batches. A
cached number is then exactly what the pass would compute, and equal runs stay equal.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers

from dpo_core.atomic import write_atomic
from dpo_core.hashing import digest
from dpo_core.tables import write_rows
from dpo_core.training.metrics.curves import REFERENCE_LOGPS, ReferenceLogpsRow
from dpo_core.training.objective import NUMERICS_VERSION, ReferenceLogps
from dpo_core.training.pairs.batching import optimiser_steps
from dpo_core.training.pairs.logps_by_pair import LogpsByPair
from dpo_core.training.round import RoundSetting


@dataclass(frozen=True)
class ReferenceCache:
    """The cached log-probs of one round. weights: hash. Without `cache_dir` nothing is cached."""

    setting: RoundSetting
    weights: str

    def read(self, ld_alpha: float | None) -> ReferenceLogps | None:
        """The log-probs, summed with `ld_alpha`; None where they are not cached."""
        if self.setting.job.cache_dir is None:
            return None
        logps = LogpsByPair(pair.pair_id for pair in self.setting.pairs)
        try:
            with pq.ParquetFile(self._path(ld_alpha), page_checksum_verification=True) as file:
                for batch in file.iter_batches():
                    rows = batch.to_pylist()
                    logps.update({r["pair_id"]: (r["chosen"], r["rejected"]) for r in rows})
        except (OSError, pa.ArrowException):  # missing or damaged
            return None
        return logps

    def write(self, logps: ReferenceLogps, ld_alpha: float | None) -> None:
        """Cache log-probs that were summed with `ld_alpha`."""
        if self.setting.job.cache_dir is None:
            return
        rows = reference_rows(logps, self.weights)

        def write(path: Path) -> None:
            write_rows(path, rows, REFERENCE_LOGPS, checksums=True)

        write_atomic(self._path(ld_alpha), write)

    def _path(self, ld_alpha: float | None) -> Path:
        folder = self.setting.job.cache_dir
        assert folder is not None, "checked by the caller"
        return folder / f"{digest(self.weights, self._key, ld_alpha)}.parquet"

    @cached_property
    def _key(self) -> str:
        """Hash of what determines the bits, besides the weights and `ld_alpha`."""
        setting = self.setting
        runtime, config = setting.runtime, setting.job.config
        computation = {
            "numbers": NUMERICS_VERSION,
            "device": runtime.device.type,
            "dtype": str(runtime.compute_dtype),
            "threads": torch.get_num_threads(),
            "processes": setting.team.size,
            "versions": [torch.__version__, transformers.__version__],
            "path": config.path,
            "budget": setting.budget,
        }
        return digest(computation, _hash_of_pairs(setting))


def reference_rows(logps: ReferenceLogps, policy: str) -> Iterator[ReferenceLogpsRow]:
    """Rows of schema REFERENCE_LOGPS, sorted by pair id."""
    for pair_id in sorted(logps):
        chosen, rejected = logps[pair_id]
        yield {"policy": policy, "pair_id": pair_id, "chosen": chosen, "rejected": rejected}


def _hash_of_pairs(setting: RoundSetting) -> str:
    """Hash of pair ids and token ids, in the order and steps of the first epoch."""
    job, sha256 = setting.job, hashlib.sha256()
    for step in optimiser_steps(setting.pairs, job.config.pairs_per_step, job.seed, epoch=0):
        sha256.update(f"step {len(step)}\n".encode())
        for pair in step:
            sequences = (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids)
            sha256.update(f"{pair.pair_id} {[len(ids) for ids in sequences]}\n".encode())
            for ids in sequences:
                sha256.update(np.asarray(ids, dtype="<i4").tobytes())
    return sha256.hexdigest()
