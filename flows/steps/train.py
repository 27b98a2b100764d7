"""Step `training`: one DPO round in its own process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.layout import CHECKPOINTS
from dpo_core.config import RESULT_NEUTRAL_KEYS, EmaReference, EveryReference, TrainingConfig
from dpo_core.tables import count_rows
from dpo_core.text import counted
from dpo_core.weight_files import stored_parameters
from flows.config.training import TrainingSection, chosen, settled
from flows.policy import Policy, RoundRecord
from flows.prefect.tasks import step
from flows.session import Session, check_weights

_KNOWN_BY_ITS_FILES = {"reference"}
_OPTIMISER = "optimiser/state.safetensors"
_SETTINGS = {"beta", "learning_rate", "warmup_steps", "pairs_per_step"}
"""What is recorded of the numbers that may be left open."""


def train(
    session: Session,
    number: int,
    policy: Policy,
    reference: Policy | None,
    preferences: Artifact,
    completions: Artifact,
) -> Policy:
    """π_{t+1}, trained from `policy`, compared with `reference`, on the round's preferences."""
    asked = session.config.training
    seed = session.seed("training", number)
    carried = asked.optimiser_state == "carried"
    left = carried and _OPTIMISER in policy.made_by.entry.outputs

    def make(folder: Path, inputs: Inputs) -> StepResult:
        compared_with, optimiser = inputs.find("reference"), inputs.find("optimiser")
        for weights in (inputs.path("policy"), compared_with):
            if weights is not None:
                check_weights(weights)
        config = _settled(session, asked, inputs)
        job = {
            "policy_dir": str(inputs.path("policy")),
            "reference_dir": str(compared_with) if compared_with is not None else None,
            "cache_dir": str(session.layout.reference_logps),
            "preferences": str(inputs.path("preferences")),
            "completions": str(inputs.path("completions")),
            "out_dir": str(folder / "policy"),
            "curve_path": str(folder / "training.parquet"),
            "reference_logps_path": str(folder / "reference_logps.parquet"),
            "adapter_dir": str(folder / "adapter") if config.lora is not None else None,
            "optimiser_from": str(optimiser) if optimiser is not None else None,
            "optimiser_to": str(folder / _OPTIMISER) if carried else None,
            "checkpoints": str(folder / CHECKPOINTS),
            "events_dir": str(session.layout.round_events(number)),
            "config": config.model_dump(mode="json"),
            "seed": seed,
            "threads": session.config.threads,
        }
        result = session.train({"op": "dpo", "job": job})
        pairs = result["pairs"]
        versions = result.pop("versions", {})
        facts = {
            **result,
            "optimiser_state": _told(asked.optimiser_state, policy, left),
            "settings": config.model_dump(mode="json", include=_SETTINGS),
        }
        return StepResult(pairs, pairs, versions=versions, facts=facts)

    artifact = session.step(
        number,
        "training",
        make,
        config={
            **as_asked(asked),
            "seed": seed,
        },
        inputs={
            "policy": policy.input,
            **({"reference": reference.input} if reference is not None else {}),
            "preferences": preferences.input("preferences.parquet"),
            "completions": completions.input("completions.parquet"),
            **({"optimiser": policy.made_by.input(_OPTIMISER)} if left else {}),
        },
    )
    return Policy(number, artifact.entry.facts["policy"], artifact.path("policy"), artifact)


def _settled(session: Session, asked: TrainingSection, inputs: Inputs) -> TrainingConfig:
    """The numbers that the round trains with; those that were chosen for it are shown."""
    parameters = stored_parameters(inputs.path("policy")) if asked.asks_for_parameters else None
    pairs = count_rows(inputs.path("preferences"))
    config = settled(asked, pairs, parameters)
    if said := chosen(asked, config, parameters):
        session.progress.note(f"chosen for {counted(pairs, 'pair')}: {said}")
    return config


def as_asked(asked: TrainingSection) -> dict[str, Any]:
    """What the round depends on. Of numbers that are left open, that they are: what is chosen for
    them follows from the inputs. A key that there was not always counts where it is given."""
    found = asked.model_dump(mode="json", exclude={*RESULT_NEUTRAL_KEYS, *_KNOWN_BY_ITS_FILES})
    if asked.warmup_share is None:
        del found["warmup_share"]
    return found


def _told(wanted: str, policy: Policy, left: bool) -> str:
    """Where the round's optimiser state comes from, in words."""
    if wanted == "fresh":
        return "fresh"
    if left:
        return f"carried from round {policy.round}"
    return f"fresh: round {policy.round}, which made the policy, left no optimiser state"


def choose_reference(
    session: Session, number: int, policy: Policy, base: Policy, earlier: Sequence[RoundRecord]
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

    def make(folder: Path, inputs: Inputs) -> StepResult:
        for name in ("last", "policy"):
            check_weights(inputs.path(name))
        job = {
            "from_dir": str(inputs.path("last")),
            "to_dir": str(inputs.path("policy")),
            "out_dir": str(folder / "policy"),
            "rate": rate,
        }
        return StepResult(facts=session.train({"op": "average", "job": job}))

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
