"""Step `imported`: pairs from `ratchet import` become the preferences of round 1."""

from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.errors import LabelsError
from flows.round_state import Policy
from flows.session import Session
from flows.steps.gate_pool import POOL, find_gate_pool
from generation.jobs import CompletionsFacts, TokeniseJob
from labeling.exchange.folder import PAIRS


def imported_preferences(
    session: Session, number: int, policy: Policy, held_out: Artifact
) -> Artifact:
    """One artifact with prompts, completions and preferences, tokenised for the policy.

    Drops held-out prompts, those reserved for a certified gate, and pairs that are too long.
    """
    assert session.config.data.imported is not None, "the round checked it"
    pairs = Path(session.config.data.imported) / PAIRS
    longest = session.config.sampling.max_model_len
    pool = find_gate_pool(session, held_out)
    hard = session.config.aggregation.targets == "hard" or not session.config.takes_soft_labels

    def make(folder: Path, inputs: Inputs) -> StepResult:
        job = TokeniseJob(
            policy=inputs.path("policy"),
            pairs=inputs.path("imported"),
            held_out=inputs.path("held_out"),
            gate_pool=inputs.find("gate_pool"),
            out_dir=folder,
            longest=longest,
            hard=hard,
            keep_worker=session.config.sampling.keep_worker,
        )
        result = session.tokenise(job)
        if not result.preferences:
            raise LabelsError(
                f"no pair of {pairs} can be trained on (dropped: {result.dropped})",
                "Import other pairs, or raise sampling.max_model_len if they are too long.",
            )
        facts = CompletionsFacts.read(result.as_json())
        return StepResult(result.rows, result.preferences, result.dropped, facts)

    return session.step(
        number,
        "imported",
        make,
        config={"max_model_len": longest, "targets": "hard" if hard else "as imported"},
        inputs={
            "imported": session.file_input(pairs),
            "policy": policy.input,
            "held_out": held_out.input("prompts.parquet"),
            **({"gate_pool": pool.input(POOL)} if pool is not None else {}),
        },
    )
