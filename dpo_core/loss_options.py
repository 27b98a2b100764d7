"""Losses by name: what each takes and how it is averaged. Loads no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Discriminator, StringConstraints, Tag

Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]

LossName = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "exo_pair",
    "robust",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "simpo",
    "orpo",
]


LossPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""A loss of the user: `package.module:function`."""

LossChoice = Annotated[
    Annotated[LossName, Tag("loss name")] | Annotated[LossPath, Tag("loss path")],
    Discriminator(lambda loss: "loss path" if ":" in str(loss) else "loss name"),
]


@dataclass(frozen=True)
class LossOptions:
    """Hyperparameters of a loss.

    beta: strength of the pull to the reference. label_smoothing: probability that a preference is
    the wrong way round. divergence: f-divergence that turns log-ratios into scores.
    divergence_alpha: α of the α-divergence. discopop_tau: temperature of `discopop`, in (0, 1].
    simpo_gamma: target margin of `simpo`, nats.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    divergence: Divergence = "reverse_kl"
    divergence_alpha: float = 0.5
    discopop_tau: float = 0.05
    simpo_gamma: float = 0.5


@dataclass(frozen=True)
class Traits:
    """What a loss takes.

    normaliser: what the sum over an optimiser step is divided by: its pairs, or its chosen tokens.
    whole_step: pairs depend on each other, so it needs all pairs of a step at once.
    reference: whether it uses a reference.
    smoothing: whether it takes label smoothing. soft_labels: whether it takes p_chosen.
    divergence: whether it takes a divergence other than the reverse KL.
    sums: whether it uses likelihoods of whole completions, not per token. Only then does LD-DPO's
    shortened likelihood have a meaning.
    weights: whether each of its values belongs to one pair, so that pairs can be weighted.
    """

    normaliser: Literal["pairs", "chosen_tokens"] = "pairs"
    whole_step: bool = False
    reference: bool = True
    smoothing: bool = False
    soft_labels: bool = False
    divergence: bool = False
    sums: bool = True
    weights: bool = True


TRAITS: dict[str, Traits] = {
    "sigmoid": Traits(smoothing=True, soft_labels=True, divergence=True),
    "sigmoid_norm": Traits(smoothing=True, soft_labels=True, divergence=True, sums=False),
    "hinge": Traits(divergence=True),
    "ipo": Traits(divergence=True, sums=False),
    "exo_pair": Traits(smoothing=True, divergence=True),
    "robust": Traits(smoothing=True, divergence=True),
    "nca_pair": Traits(),
    "bco_pair": Traits(),
    "sppo_hard": Traits(),
    "aot": Traits(whole_step=True, smoothing=True, weights=False),
    "aot_unpaired": Traits(whole_step=True, smoothing=True, weights=False),
    "apo_zero": Traits(),
    "apo_down": Traits(),
    "discopop": Traits(divergence=True),
    "sft": Traits(normaliser="chosen_tokens", reference=False, sums=False),
    "simpo": Traits(reference=False, sums=False),
    "orpo": Traits(reference=False, sums=False),
}


def is_user_loss(loss: str) -> bool:
    """Whether `loss` is an import path and not one of the names in TRAITS."""
    return ":" in loss


def traits_of(loss: str) -> Traits:
    """What a loss takes, by its name; a loss of the user takes what a plain one does.

    Raises ValueError for a name that is not in TRAITS.
    """
    if is_user_loss(loss):
        return Traits()
    if loss not in TRAITS:
        raise ValueError(f"there is no loss {loss!r}: choose one of {', '.join(TRAITS)}")
    return TRAITS[loss]


def check_options(loss: str, options: LossOptions) -> None:
    """Raise ValueError for options that `loss` cannot take, with the reason."""
    traits = traits_of(loss)
    if not options.beta > 0:
        raise ValueError(f"beta must be greater than 0, not {options.beta}")
    _check_smoothing(loss, traits, options.label_smoothing)
    if not traits.divergence and options.divergence != "reverse_kl":
        raise ValueError(f"loss {loss} takes no divergence other than reverse_kl")
    if not 0 < options.discopop_tau <= 1:
        raise ValueError(
            f"discopop_tau must lie in (0, 1], not {options.discopop_tau}: above 1 the loss grows "
            "like an exponential at negative margins"
        )


def check_combination(loss: str, *, wpo: bool, shortened: bool) -> None:
    """Raise ValueError for a loss that does not combine with WPO or LD-DPO.

    wpo: pairs are weighted (WPO). shortened: tokens beyond the pair's shorter completion count less
    (LD-DPO).
    """
    traits = traits_of(loss)
    if wpo and not traits.weights:
        raise ValueError(
            f"training.wpo weights pairs, but training.loss {loss} sorts log-probs over the "
            "optimiser step, so its values belong to no single pair: set training.wpo to false"
        )
    if shortened and not traits.sums:
        reason = "has no pair to shorten" if loss == "sft" else "takes them per token"
        raise ValueError(
            "training.ld_alpha shortens the likelihoods of whole completions (LD-DPO), but "
            f"training.loss {loss} {reason}: remove training.ld_alpha"
        )


def _check_smoothing(loss: str, traits: Traits, smoothing: float) -> None:
    if smoothing and not traits.smoothing:
        raise ValueError(f"loss {loss} takes no label smoothing: leave label_smoothing at 0")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"label_smoothing is a probability, not {smoothing}")
    if loss == "robust" and not smoothing < 0.5:
        raise ValueError(
            f"loss robust divides by 1 − 2·label_smoothing: choose less than 0.5, not {smoothing}"
        )
    if loss == "exo_pair" and not 0 < smoothing < 1:
        raise ValueError(
            "loss exo_pair takes the logarithms of label_smoothing and of 1 − label_smoothing: "
            f"choose more than 0 and less than 1, for example 0.001, not {smoothing}"
        )
