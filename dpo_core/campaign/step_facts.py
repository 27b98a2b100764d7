"""The facts of steps, by their earlier name."""

from dpo_core.step_facts import StepFacts as StepFacts
