"""Draw docs/figures and write the table of losses in docs/dpo.md; `make docs` runs this.

The curves come from the project's own losses, so the page cannot say another thing than the code.
A figure carries the hash of what it shows, for texts are a little wider or narrower elsewhere.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpo_core.loss_options import TRAITS
from dpo_core.preference.loss_functions import LOSSES
from dpo_core.preference.losses import preference_loss
from dpo_core.preference.pair_logps import PairLogps

PAGE, FIGURES = Path("docs/dpo.md"), Path("docs/figures")
BEGIN, END = "<!-- losses:begin -->", "<!-- losses:end -->"
BETAS = (0.05, 0.1, 0.3, 1.0)
MARGINS = (-6.0, 20.0)
ROUNDS = 8
COMPLETIONS = 8

Point = dict[str, Any]


def figures() -> dict[str, dict[str, Any]]:
    """File name → Vega-Lite specification."""
    margins = torch.linspace(*MARGINS, 105, dtype=torch.float64)
    loss, pull = [], []
    for beta in BETAS:
        values, weights = _sigmoid_loss(margins, beta)
        loss += _points(f"β = {beta:g}", margins, values)
        pull += _points(f"β = {beta:g}", margins, weights)
    return {
        "loss-by-margin.svg": _lines("margin Δ, nats", "loss −log σ(βΔ)", loss, MARGINS),
        "pull-by-margin.svg": _lines("margin Δ, nats", "gradient weight σ(−βΔ)", pull, MARGINS),
        "kl-over-rounds.svg": _lines("round", "KL, nats", list(_drift()), (0, ROUNDS), marks=True),
    }


def _sigmoid_loss(margins: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """(loss, −d loss/d margin divided by β) of pairs with these margins, by the code itself."""
    chosen = margins.clone().requires_grad_()
    none = torch.zeros_like(margins)
    losses = preference_loss(PairLogps(chosen, none), PairLogps(none, none), beta=beta)
    (slopes,) = torch.autograd.grad(losses.sum(), chosen)
    return losses.detach(), -slopes / beta


def _drift() -> Iterator[Point]:
    """KL of the policies that k rounds at β = 1 tend to, over a few completions."""
    rank = torch.arange(COMPLETIONS, dtype=torch.float64)
    base = (-0.6 * rank).log_softmax(0)  # the better a completion, the rarer it is at first
    reward = rank / (COMPLETIONS - 1)
    reset = [(base + k * reward).log_softmax(0) for k in range(ROUNDS + 1)]
    fixed = [base, *[reset[1]] * ROUNDS]
    for k in range(ROUNDS + 1):
        yield _point("from the base, reference reset", k, _kl(reset[k], base))
        yield _point("from the base, base as reference", k, _kl(fixed[k], base))
        if k:
            yield _point("from the previous round, reset", k, _kl(reset[k], reset[k - 1]))


def _kl(logps: Tensor, other: Tensor) -> float:
    return float((logps.exp() * (logps - other)).sum())


def _point(series: str, x: float, y: float) -> Point:
    return {"series": series, "x": round(x, 4), "y": round(y, 4) + 0.0}


def _points(series: str, x: Tensor, y: Tensor) -> list[Point]:
    return [_point(series, *pair) for pair in zip(x.tolist(), y.tolist(), strict=True)]


def _lines(
    x: str, y: str, points: list[Point], domain: tuple[float, float], *, marks: bool = False
) -> dict[str, Any]:
    along = {"scale": {"domain": domain, "nice": False}, "axis": {"tickCount": 8}}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": "white",
        "width": 400,
        "height": 230,
        "data": {"values": points},
        "mark": {"type": "line", "strokeWidth": 2, "point": marks},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": x, **along},
            "y": {"field": "y", "type": "quantitative", "title": y},
            "color": {
                "field": "series",
                "type": "nominal",
                "sort": list(dict.fromkeys(point["series"] for point in points)),
                "legend": {"title": None, "orient": "top", "columns": 2, "labelLimit": 300},
            },
        },
    }


def mark_of(spec: dict[str, Any]) -> str:
    """What a figure of `spec` carries."""
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    return f"<!-- {digest} -->"


def table() -> str:
    """Every loss with its equation, from its own documentation."""
    rows = ["| loss | per pair | averaged over |", "|---|---|---|"]
    for name, function in LOSSES.items():
        said = " ".join((function.__doc__ or "").split("\n\n")[0].split()).replace("|", "\\|")
        over = TRAITS[name].normaliser.replace("_", " ")
        rows.append(f"| `{name}` | {said} | {over} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """The page with its table of losses as it should be."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    from vl_convert import vegalite_to_svg

    FIGURES.mkdir(exist_ok=True)
    for name, spec in figures().items():
        drawn = vegalite_to_svg(spec, vl_version="6.4")
        (FIGURES / name).write_text(f"{drawn}\n{mark_of(spec)}\n", encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
