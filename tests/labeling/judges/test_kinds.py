"""Every kind of judge that a config can name has one entry in KINDS."""

from typing import get_args

from labeling.judges.config import JUDGE_KINDS
from labeling.judges.make import KINDS


def test_kinds_are_those_of_the_config() -> None:
    assert (*KINDS, "committee") == JUDGE_KINDS
    for name, kind in KINDS.items():
        assert get_args(kind.config.model_fields["kind"].annotation) == (name,)
        gives = kind.config.model_fields.get("gives")
        assert set(kind.makers) == (set(get_args(gives.annotation)) if gives else set())
