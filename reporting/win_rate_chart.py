"""Win rates over rounds as a small drawing: a sparkline, and the first chart of the report."""

from dataclasses import dataclass

from reporting.number_formats import format_number
from reporting.summary import CampaignSummary

_RANGE = 0.45, 0.6
"""Win rates that every drawing reaches to; even is among them."""


@dataclass(frozen=True)
class WinRateChart:
    """Win rates against the base, in pixels of a picture `width` × `height`.

    line: of the estimates, as SVG points. band: of the intervals. marks: (round, x, y, estimate, y
    of the interval's upper and lower end). even: y of 50 %. spoken: the same in words.
    """

    width: int
    height: int
    line: str
    band: str
    marks: tuple[tuple[int, float, float, str, float, float], ...]
    even: float
    spoken: str


def draw_win_rates(
    summary: CampaignSummary, width: int, height: int, pad: int = 4, left: int = 0
) -> WinRateChart | None:
    """The chart of a campaign; None before a round was compared with the base.

    left: pixels that labels of the axis take.
    """
    points = [
        (row.round, rate, low if low is not None else rate, high if high is not None else rate)
        for row in summary.rounds
        for rate, low, high in [row.interval("win_rate_base")]
        if rate is not None
    ]
    if not points:
        return None
    bottom = min(_RANGE[0], *(low for _, _, low, _ in points))
    top = max(_RANGE[1], *(high for _, _, _, high in points))
    last_round = max(summary.rounds_planned, points[-1][0], 2)

    def x(number: int) -> float:
        return round(left + pad + (width - left - 2 * pad) * (number - 1) / (last_round - 1), 1)

    def y(share: float) -> float:
        return round(pad + (height - 2 * pad) * (top - share) / (top - bottom), 1)

    line = " ".join(f"{x(n)},{y(rate)}" for n, rate, _, _ in points)
    upper = [f"{x(n)},{y(high)}" for n, _, _, high in points]
    lower = [f"{x(n)},{y(low)}" for n, _, low, _ in reversed(points)]
    marks = tuple(
        (n, x(n), y(rate), format_number("win_rate", rate), y(high), y(low))
        for n, rate, low, high in points
    )
    said = ", ".join(f"round {n}: {format_number('win_rate', rate)}" for n, rate, _, _ in points)
    spoken = f"Win rate vs. the base. {said}"
    return WinRateChart(width, height, line, " ".join(upper + lower), marks, y(0.5), spoken)
