"""Which references a loss can use. Loads no torch."""

from dpo_core.loss_options import TRAITS, traits_of


def check_reference(loss: str, reference: str, logps: str, ld_alpha: float | None) -> None:
    """Raise ValueError for a reference that `loss` cannot use, or that sampling does not provide.

    reference: reset, base, none, or another kind as text ("every: 3"). logps: source of its
    log-probs, pass or from_sampling.
    """
    compares = traits_of(loss).reference
    if compares and reference == "none":
        without = ", ".join(name for name, traits in TRAITS.items() if not traits.reference)
        raise ValueError(
            f"training.reference is none, but loss {loss} needs a reference: choose another "
            f"reference, or a loss without one ({without})"
        )
    if not compares and reference not in ("reset", "none"):
        raise ValueError(
            f"training.reference is {reference}, but loss {loss} uses no reference: remove it, or "
            "set it to none"
        )
    if logps == "from_sampling":
        _check_from_sampling(loss, reference, ld_alpha)


def _check_from_sampling(loss: str, reference: str, ld_alpha: float | None) -> None:
    if not traits_of(loss).reference or reference != "reset":
        whose = f"Reference {reference}" if traits_of(loss).reference else f"Loss {loss}"
        raise ValueError(
            "training.reference_logps: from_sampling needs training.reference: reset, because the "
            f"sampler returns the log-probs of the policy that sampled. {whose} cannot use them: "
            "set training.reference_logps to pass"
        )
    if ld_alpha is not None:
        raise ValueError(
            "training.reference_logps: from_sampling has one number per completion, but "
            "training.ld_alpha weights tokens: set reference_logps to pass, or remove ld_alpha"
        )
