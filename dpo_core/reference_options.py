"""Which references a loss can be compared with. Loading this loads no torch."""

from dpo_core.loss_options import TRAITS, traits_of


def check_reference(loss: str, reference: str, logps: str, ld_alpha: float | None) -> None:
    """Raise ValueError for a reference that `loss` cannot take, or that sampling cannot give.

    reference: reset, base, none, or the words of another kind ("every: 3"). logps: how its
    log-probs are had, pass or from_sampling.
    """
    compares = traits_of(loss).reference
    if compares and reference == "none":
        without = ", ".join(name for name, traits in TRAITS.items() if not traits.reference)
        raise ValueError(
            f"training.reference is none, but loss {loss} compares with a reference: choose "
            f"another reference, or a loss that has none ({without})"
        )
    if not compares and reference not in ("reset", "none"):
        raise ValueError(
            f"training.reference is {reference}, but loss {loss} compares with no reference: "
            "remove it, or set it to none"
        )
    if logps == "from_sampling":
        _check_from_sampling(loss, reference, ld_alpha)


def _check_from_sampling(loss: str, reference: str, ld_alpha: float | None) -> None:
    if not traits_of(loss).reference or reference != "reset":
        whose = f"reference {reference}" if traits_of(loss).reference else f"loss {loss}"
        raise ValueError(
            "training.reference_logps from_sampling needs reference reset: the sampler returns the "
            f"log-probs of the policy that sampled, which are of no use to {whose}; set it to pass"
        )
    if ld_alpha is not None:
        raise ValueError(
            "training.reference_logps from_sampling has one number for each completion, but "
            "training.ld_alpha weighs tokens: set it to pass, or remove ld_alpha"
        )
