"""Peak floating-point operations per second of a device."""

import time

import torch

DENSE_PEAKS: dict[str, tuple[float, float]] = {
    "B200": (2250e12, 75e12),
    "H200": (989e12, 67e12),
    "H100 PCIe": (756e12, 51e12),
    "H100 NVL": (835e12, 60e12),
    "H100": (989e12, 67e12),
    "A100": (312e12, 19.5e12),
    "A10": (125e12, 31.2e12),
    "A40": (149.7e12, 37.4e12),
    "L40S": (362e12, 91.6e12),
    "L40": (181e12, 90.5e12),
    "L4": (121e12, 30.3e12),
}
"""Part of the device's name → (bfloat16 on tensor cores, float32 without TF32), operations per
second, without sparsity. Source: NVIDIA's data sheets; the SXM variant where the name does not say,
half the number where a sheet gives it with sparsity only."""

_SIZE = 1024
_TRIES = 3


def device_name(device: torch.device, dtype: torch.dtype) -> str:
    """What a peak belongs to: the device, its precision and its threads."""
    kind = str(dtype).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {kind}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"CPU {capability}, {kind}, {torch.get_num_threads()} threads"


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Peak operations per second; None for a GPU that is not in DENSE_PEAKS.

    A CPU has no such data sheet: its peak is measured, which takes about a tenth of a second.
    """
    if device.type == "cuda":
        return known_peak(torch.cuda.get_device_name(device), dtype)
    return measured_peak(dtype)


def known_peak(name: str, dtype: torch.dtype) -> float | None:
    """The data sheet's peak for a device name; the longest matching entry counts."""
    words = name.replace("-", " ").split()
    matches = [known for known in DENSE_PEAKS if set(known.split()) <= set(words)]
    if not matches:
        return None
    bfloat16, float32 = DENSE_PEAKS[max(matches, key=len)]
    return bfloat16 if dtype == torch.bfloat16 else float32


@torch.no_grad()
def measured_peak(dtype: torch.dtype) -> float:
    """The rate of the fastest of a few square products on this CPU, with torch's threads."""
    left, right = (torch.ones(_SIZE, _SIZE, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(_TRIES):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return 2 * _SIZE**3 / min(seconds)
