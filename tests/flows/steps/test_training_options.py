"""Options of a round, through a real campaign: adapters, and an optimiser that goes on."""

import json

import pytest
from small_campaign import PROMOTE_ALL, Campaign

from dpo_core.hashing import policy_id

CARRIED = (
    *PROMOTE_ALL,
    *("--set", "training.optimiser_state=carried"),
    *("--set", "keep_policies.last=1"),
)
STATE = "optimiser/state.safetensors"


def run(campaign: Campaign, *arguments: str) -> None:
    done = campaign.run(*arguments)
    assert done.returncode == 0, done.stderr + done.stdout


def test_the_optimiser_goes_on_from_the_promoted_policy(copy: Campaign) -> None:
    assert copy.artifact(1, "training").entry.facts["optimiser_state"] == "fresh"
    run(copy, *CARRIED)
    first, second = (copy.artifact(number, "training") for number in (1, 2))
    assert first.entry.facts["optimiser_state"] == (
        "fresh: round 0, which made the policy, left no optimiser state"
    )
    assert second.entry.facts["optimiser_state"] == "carried from round 1"
    assert second.entry.inputs["optimiser"] == first.entry.outputs[STATE]
    assert "optimiser" not in first.entry.inputs
    # The state goes with the weights it belongs to, and what is gone on purpose is not missed.
    for name in (STATE, "policy"):
        assert [step.path(name).exists() for step in (first, second)] == [False, True]
    before = len(copy.entries())
    run(copy, *CARRIED)
    assert len(copy.entries()) == before


def test_adapters_are_trained_each_round_and_leave_full_weights(copy: Campaign) -> None:
    lora = ("--set", "training.lora.rank=4", "--set", "training.learning_rate=3e-3")
    run(copy, *PROMOTE_ALL, *lora)
    for number in (1, 2):
        training = copy.artifact(number, "training")
        facts = training.entry.facts
        assert facts["first_loss"] == pytest.approx(0.6931, abs=1e-3)
        assert policy_id(training.path("policy")) == facts["policy"] != facts["reference_policy"]
        config = json.loads(training.path("adapter/adapter_config.json").read_text())
        assert config["r"] == 4
        assert "adapter/adapter_model.safetensors" in training.entry.outputs
    # Round 2 starts from the merged weights of round 1, and so does its reference.
    facts = [copy.artifact(number, "training").entry.facts for number in (1, 2)]
    assert facts[1]["reference_policy"] == facts[0]["policy"]
    # What samples in round 2 are the merged weights: the trainer finds the sampler's log-probs.
    assert facts[1]["sampling_gap"] < 1e-4


def test_memory_for_time_trains_nothing_again(copy: Campaign) -> None:
    before = len(copy.entries())
    run(copy, "--set", "training.gradient_checkpointing=true")
    assert len(copy.entries()) == before
