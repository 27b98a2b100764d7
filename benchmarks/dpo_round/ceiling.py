"""The matrix-multiplication ceiling in a dtype: `-m benchmarks.dpo_round.ceiling DTYPE`.

Of one thread, or of the GPU that torch sees.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.dpo_round import side
from benchmarks.measure import machine
from dpo_core.training.metrics.peak_flops import peak_flops

_SIZES = (1024, 2048, 4096)
_GPU_SIZES = (4096, 8192, 16384)
_TRIES = 5

_Product = Callable[[torch.Tensor, torch.Tensor], object]


def of_this_machine(dtype: torch.dtype) -> dict[str, Any]:
    """10⁹ operations/s of `device`: `gflops`, measured; `data_sheet_gflops`, None if not known."""
    side.warm_up()
    if side.on_gpu():
        gpu = torch.device("cuda")
        peak = peak_flops(gpu, dtype)
        measured = best_gflops([_transposed], _GPU_SIZES, gpu, dtype)
        name = torch.cuda.get_device_name(gpu)
        return _told(name, measured, peak / 1e9 if peak else None)
    products: list[_Product] = [_transposed]
    if torch.backends.mkldnn.is_available():
        linear = torch.ops.mkldnn._linear_pointwise
        products.append(lambda x, w: linear(x, w, None, "none", [], ""))
    measured = best_gflops(products, _SIZES, torch.device("cpu"), dtype)
    return _told(machine()["cpu"], measured, None)


def _told(device: str, measured: float, data_sheet: float | None) -> dict[str, Any]:
    return {"device": device, "gflops": measured, "data_sheet_gflops": data_sheet}


def best_gflops(
    products: Sequence[_Product], sizes: Sequence[int], device: torch.device, dtype: torch.dtype
) -> float:
    """The fastest of square products of these sizes by any of torch's libraries."""
    found = []
    for size in sizes:
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        found += [2 * size**3 / _seconds(product, left, right) / 1e9 for product in products]
    return max(found)


def _transposed(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left @ right.T


@torch.no_grad()
def _seconds(product: _Product, left: torch.Tensor, right: torch.Tensor) -> float:
    product(left, right)
    times = []
    for _ in range(_TRIES):
        started = side.now()
        product(left, right)
        times.append(side.now() - started)
    return min(times)


if __name__ == "__main__":
    side.show(of_this_machine(getattr(torch, sys.argv[1])))
