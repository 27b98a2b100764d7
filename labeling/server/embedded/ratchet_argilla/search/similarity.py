"""Cosine similarity, by looking at every vector: a campaign's round has some thousands."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def ranked(
    vectors: Sequence[Sequence[float]], probe: Sequence[float], *, opposite: bool
) -> list[tuple[int, float]]:
    """(position, score) of each vector, the most similar to `probe` first, or to its opposite.

    Scores are (1 + cosine) / 2, as Elasticsearch gives them; a zero vector is similar to nothing.
    """
    if not vectors:
        return []
    matrix_RD: Any = np.asarray(vectors, dtype=float)
    probe_D: Any = np.asarray(probe, dtype=float) * (-1.0 if opposite else 1.0)
    norms_R = np.linalg.norm(matrix_RD, axis=1) * np.linalg.norm(probe_D)
    cosines_R = np.divide(
        matrix_RD @ probe_D, norms_R, out=np.zeros_like(norms_R), where=norms_R > 0
    )
    scores_R = (1.0 + cosines_R) / 2.0
    order = np.argsort(-scores_R, kind="stable")
    return [(int(place), float(scores_R[place])) for place in order]
