"""Log-probs of a round's pairs, in a tenth of the memory of a dictionary."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

import numpy as np


class LogpsByPair(Mapping[str, tuple[float, float]]):
    """Pair id → log-probs (chosen, rejected), nats, for ids that are given at the beginning.

    A pair takes its id's bytes (16) and 17 bytes of numbers. Iteration is in order of ids.
    """

    def __init__(self, pair_ids: Iterable[str]) -> None:
        self._ids = np.unique(np.array([pair_id.encode() for pair_id in pair_ids]))
        self._logps_P2 = np.empty((len(self._ids), 2))
        self._known = np.zeros(len(self._ids), dtype=bool)
        self._count = 0

    def update(self, logps: Mapping[str, tuple[float, float]]) -> None:
        """Add log-probs. Raises KeyError for an id that was not given at the beginning."""
        for pair_id, both in logps.items():
            place = self._place(pair_id)
            self._count += not self._known[place]
            self._known[place] = True
            self._logps_P2[place] = both

    def __getitem__(self, pair_id: str) -> tuple[float, float]:
        place = self._place(pair_id)
        if not self._known[place]:
            raise KeyError(pair_id)
        chosen, rejected = self._logps_P2[place].tolist()
        return chosen, rejected

    def __iter__(self) -> Iterator[str]:
        return (self._ids[place].decode() for place in np.flatnonzero(self._known))

    def __len__(self) -> int:
        return self._count

    def _place(self, pair_id: str) -> int:
        wanted = pair_id.encode()
        place = bisect_left(self._ids, wanted)
        if place == len(self._ids) or self._ids[place] != wanted:
            raise KeyError(pair_id)
        return place
