"""Step `training`: one DPO round in its own process."""

from collections.abc import Sequence
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.layout import CHECKPOINTS
from dpo_core.config import RESULT_NEUTRAL_KEYS, EmaReference, EveryReference, TrainingConfig
from dpo_core.import_path import source_hash
from dpo_core.loss_options import is_user_loss
from dpo_core.tables import count_rows
from dpo_core.text import counted
from dpo_core.training.jobs import AverageJob, DpoJob
from dpo_core.training.results import AverageResult, ChosenSettings, TrainingFacts
from dpo_core.weight_files import stored_parameters
from flows.compute.processes import check_weights
from flows.config.training import TrainingSection, describe_chosen, resolve_training
from flows.prefect.tasks import step
from flows.round_state import Policy, RoundRecord, TrainingData, parquet_inputs
from flows.session import Session

_KNOWN_BY_ITS_FILES = {"reference"}
_OPTIMISER = "optimiser/state.safetensors"


def train(
    session: Session,
    number: int,
    policy: Policy,
    reference: Policy | None,
    data: TrainingData,
) -> Policy:
    """π_{t+1}, trained from `policy` against `reference` on the round's data."""
    section = session.config.training
    seed = session.seed("training", number)
    carried = section.optimiser_state == "carried"
    available = carried and _OPTIMISER in policy.made_by.entry.outputs
    known_peaks = _known_peaks(session)

    def make(folder: Path, inputs: Inputs) -> StepResult:
        reference_dir, optimiser = inputs.find("reference"), inputs.find("optimiser")
        for weights in (inputs.path("policy"), reference_dir):
            if weights is not None:
                check_weights(weights)
        config = _settle(session, section, inputs)
        job = DpoJob(
            policy_dir=inputs.path("policy"),
            reference_dir=reference_dir,
            cache_dir=session.layout.reference_logps,
            preferences=inputs.path("preferences"),
            completions=inputs.path("completions"),
            out_dir=folder / "policy",
            curve_path=folder / "training.parquet",
            reference_logps_path=folder / "reference_logps.parquet",
            adapter_dir=folder / "adapter" if config.lora is not None else None,
            optimiser_from=optimiser,
            optimiser_to=folder / _OPTIMISER if carried else None,
            checkpoints=folder / CHECKPOINTS,
            events_dir=session.layout.round_events(number),
            known_peaks=known_peaks,
            config=config,
            seed=seed,
            threads=session.threads,
            keep_worker=session.config.sampling.keep_worker,
        )
        result = session.train(job)
        facts = TrainingFacts(
            **result.as_json(),
            optimiser_state=_optimiser_origin(section.optimiser_state, policy, available),
            settings=ChosenSettings(
                beta=config.beta,
                learning_rate=config.learning_rate,
                warmup_steps=config.warmup_steps,
                pairs_per_step=config.pairs_per_step,
            ),
        )
        return StepResult(result.pairs, result.pairs, versions=result.versions, facts=facts)

    artifact = session.step(
        number,
        "training",
        make,
        config={**training_recipe(section), "seed": seed},
        inputs={
            "policy": policy.input,
            **({"reference": reference.input} if reference is not None else {}),
            **parquet_inputs(preferences=data.preferences, completions=data.completions),
            **({"optimiser": policy.made_by.input(_OPTIMISER)} if available else {}),
        },
        functions=loss_functions(section.loss),
    )
    policy_id = artifact.facts(TrainingFacts).policy
    return Policy(number, policy_id, artifact.path("policy"), artifact)


def _known_peaks(session: Session) -> dict[str, float]:
    """The first measured peak of each device that trained a round of the campaign."""
    trained = (
        TrainingFacts.read(entry.facts)
        for entry in session.store.entries
        if entry.step == "training"
    )
    peaks: dict[str, float] = {}
    for facts in trained:
        if facts.peak_flops:
            peaks.setdefault(facts.peak_of, facts.peak_flops)
    return peaks


def loss_functions(loss: str) -> dict[str, str]:
    """The source hash of a user's loss, by its import path; empty for a built-in one."""
    return {loss: source_hash(loss)} if is_user_loss(loss) else {}


def _settle(session: Session, section: TrainingSection, inputs: Inputs) -> TrainingConfig:
    """The settings that the round trains with; notes those that were chosen for it."""
    parameters = stored_parameters(inputs.path("policy")) if section.asks_for_parameters else None
    pairs = count_rows(inputs.path("preferences"))
    config = resolve_training(section, pairs, parameters)
    if choices := describe_chosen(section, config, parameters):
        session.progress.note(f"chosen for {counted(pairs, 'pair')}: {choices}")
    return config


def training_recipe(section: TrainingSection) -> dict[str, object]:
    """What the round depends on. Open settings stay open here: their choice follows from the
    inputs. A key that older versions lacked counts only where it is set."""
    recipe = section.model_dump(mode="json", exclude={*RESULT_NEUTRAL_KEYS, *_KNOWN_BY_ITS_FILES})
    if section.warmup_share is None:
        del recipe["warmup_share"]
    return recipe


def _optimiser_origin(wanted: str, policy: Policy, available: bool) -> str:
    """Where the round's optimiser state comes from."""
    if wanted == "fresh":
        return "fresh"
    if available:
        return f"carried from round {policy.round}"
    return f"fresh: round {policy.round}, which made the policy, left no optimiser state"


def choose_reference(
    session: Session, number: int, policy: Policy, base: Policy, earlier: Sequence[RoundRecord]
) -> Policy | None:
    """The reference of round `number`, in which `policy` samples; None for a loss without one.

    `ema` starts at the first round's sampling policy and follows each promotion; `every: k` is the
    policy that sampled in round 1, k + 1, 2k + 1 and so on.
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
    """The weights a share `rate` of the way from the `last` reference to `policy`."""

    def make(folder: Path, inputs: Inputs) -> StepResult:
        for name in ("last", "policy"):
            check_weights(inputs.path(name))
        job = AverageJob(
            from_dir=inputs.path("last"),
            to_dir=inputs.path("policy"),
            out_dir=folder / "policy",
            rate=rate,
            keep_worker=session.config.sampling.keep_worker,
        )
        return StepResult(facts=session.train(job))

    artifact = session.step(
        number,
        "reference",
        make,
        config={"rate": rate},
        inputs={"last": last.input, "policy": policy.input},
    )
    policy_id = artifact.facts(AverageResult).policy
    return Policy(number, policy_id, artifact.path("policy"), artifact)


def averaged_reference(reference: Policy | None) -> Artifact | None:
    """The step `reference`, where the reference is an average."""
    step = reference.made_by if reference is not None else None
    return step if step is not None and step.entry.step == "reference" else None
