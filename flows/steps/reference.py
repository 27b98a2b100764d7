"""Which policy a round compares with. Only an average is made, by step `reference`: the others are
there."""

from collections.abc import Sequence
from pathlib import Path

from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.store import Artifact, Made
from dpo_core.config import EmaReference, EveryReference
from flows.policy import Played, Policy
from flows.prefect.tasks import step
from flows.session import Session, check_weights


def choose_reference(
    session: Session, number: int, policy: Policy, base: Policy, earlier: Sequence[Played]
) -> Policy | None:
    """The reference of round `number`, in which `policy` samples; None for a loss without one.

    `ema` starts at the policy that samples in the first round and follows it, promotion by
    promotion; `every: k` stays at the policy that sampled in round 1, k + 1, 2k + 1 and so on.
    """
    training = session.config.training
    if not training.has_reference:
        return None
    last = earlier[-1].reference if earlier else None
    match training.reference:
        case "base":
            return base
        case EveryReference(every=rounds) if last is not None and (number - 1) % rounds:
            return last
        case EmaReference(ema=rate) if last is not None and last.id != policy.id:
            return step(reference)(session, number, last, policy, rate)
    return policy


def reference(session: Session, number: int, last: Policy, policy: Policy, rate: float) -> Policy:
    """The share `rate` of the way from the `last` reference to `policy`, as weights on disk."""

    def make(folder: Path, inputs: Inputs) -> Made:
        for name in ("last", "policy"):
            check_weights(inputs.path(name))
        job = {
            "from_dir": str(inputs.path("last")),
            "to_dir": str(inputs.path("policy")),
            "out_dir": str(folder / "policy"),
            "rate": rate,
        }
        return Made(facts=session.train({"op": "average", "job": job}))

    artifact = session.step(
        number,
        "reference",
        make,
        config={"rate": rate},
        inputs={"last": last.input, "policy": policy.input},
    )
    return Policy(number, artifact.entry.facts["policy"], artifact.path("policy"), artifact)


def averaged(reference: Policy | None) -> Artifact | None:
    """What step `reference` made, where the reference is an average."""
    made = reference.made_by if reference is not None else None
    return made if made is not None and made.entry.step == "reference" else None
