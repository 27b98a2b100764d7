"""The float32 matrix-multiplication ceiling of one thread: `-m benchmarks.dpo_round.ceiling`."""

import time
from collections.abc import Callable

import torch

from benchmarks.dpo_round import side

_SIZES = (1024, 2048, 4096)
_TRIES = 5


def best_gflops() -> float:
    """The fastest of large square products, by either of torch's libraries, 10⁹ operations/s."""
    side.warm_up()
    products: list[Callable[[torch.Tensor, torch.Tensor], object]] = [lambda x, w: x @ w.T]
    if torch.backends.mkldnn.is_available():
        linear = torch.ops.mkldnn._linear_pointwise
        products.append(lambda x, w: linear(x, w, None, "none", [], ""))
    found = []
    for size in _SIZES:
        left, right = torch.randn(size, size), torch.randn(size, size)
        found += [2 * size**3 / _seconds(product, left, right) / 1e9 for product in products]
    return max(found)


@torch.no_grad()
def _seconds(product: Callable[..., object], left: torch.Tensor, right: torch.Tensor) -> float:
    product(left, right)
    times = []
    for _ in range(_TRIES):
        started = time.process_time()
        product(left, right)
        times.append(time.process_time() - started)
    return min(times)


if __name__ == "__main__":
    side.show({"gflops": best_gflops()})
