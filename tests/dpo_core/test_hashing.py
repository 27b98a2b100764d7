"""Ids and seeds: they depend on content alone, and seeds leave room for samples."""

import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from dpo_core.hashing import (
    SEED_SPACING,
    content_id,
    derive_seed,
    digest,
    file_sha256,
    normalise,
    policy_id,
)


def test_digest_is_the_sha256_of_canonical_json() -> None:
    expected = hashlib.sha256('["prompt","é",{"a":1,"b":[2]}]'.encode()).hexdigest()
    assert digest("prompt", "é", {"b": [2], "a": 1}) == expected
    assert content_id("prompt", "é", {"a": 1, "b": [2]}) == expected[:16]


def test_parts_do_not_run_into_one_another() -> None:
    parts = [("ab", "c"), ("a", "bc"), ("abc",), (["ab", "c"],), ("1",), (1,)]
    assert len({digest(*p) for p in parts}) == len(parts)


def test_seeds_are_62_bits_and_leave_room_for_samples() -> None:
    seeds = [derive_seed(0, "completions", 1, f"prompt {n}") for n in range(5_000)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 1 << 62 and seed % SEED_SPACING == 0 for seed in seeds)
    # Sample i of a request uses seed + i: with this spacing no two requests share a seed.
    ordered = sorted(seeds)
    assert min(b - a for a, b in pairwise(ordered)) >= SEED_SPACING
    # They fill the range: the mean of uniform numbers is off by 4 sd = 4/sqrt(12 n) = 1.6 %.
    assert abs(sum(seeds) / len(seeds) / (1 << 62) - 0.5) < 0.017


def test_seeds_differ_by_campaign_round_step_and_prompt() -> None:
    parts = [(s, step, r, p) for s in (0, 1) for step in ("x", "y") for r in (1, 2) for p in "pq"]
    assert len({derive_seed(*p) for p in parts}) == 16


def test_seed_of_one_prompt_does_not_depend_on_what_was_asked_before() -> None:
    code = "from dpo_core.hashing import derive_seed; print(derive_seed(3, 'completions', 'p'))"
    env = {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    [derive_seed(n) for n in range(10)]
    assert int(elsewhere) == derive_seed(3, "completions", "p")


def test_policy_id_covers_names_and_bytes_of_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        policy_id(tmp_path)
    (tmp_path / "b.safetensors").write_bytes(b"two")
    (tmp_path / "a.safetensors").write_bytes(b"one")
    first = policy_id(tmp_path)
    hashes = [[n, hashlib.sha256(c).hexdigest()] for n, c in (("a", b"one"), ("b", b"two"))]
    assert first == content_id([[f"{name}.safetensors", sha] for name, sha in hashes])
    (tmp_path / "a.safetensors").write_bytes(b"onE")
    assert policy_id(tmp_path) != first


CHANGES_WHAT_IS_SAID = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "additional_chat_templates/tools.jinja",
]


@pytest.mark.parametrize("name", CHANGES_WHAT_IS_SAID)
def test_policy_id_covers_every_file_that_changes_what_a_policy_says(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    ids = [policy_id(tmp_path)]
    for content in ("one", "two"):
        file.write_text(content)
        ids.append(policy_id(tmp_path))
    assert len(set(ids)) == 3


def test_policy_id_knows_neither_the_place_nor_what_lies_beside_the_model(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "model.safetensors").write_bytes(b"weights")
    first = policy_id(here)
    for beside in ("README.md", "optimizer.pt", ".git/HEAD", "runs/events"):
        (here / beside).parent.mkdir(exist_ok=True)
        (here / beside).write_text("more")
    here.rename(there)
    assert policy_id(there) == first


def test_file_hash(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1_000_000)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(b"x" * 1_000_000).hexdigest()


def test_normalised_texts_are_equal_when_people_would_say_so() -> None:
    assert normalise(" Why\n is\tthe SKY  blue? ") == "why is the sky blue?"
    assert normalise("ﬁne") == normalise("FINE")  # a ligature
    assert normalise("Straße") == normalise("STRASSE")
    assert normalise("a b") != normalise("ab")


def test_policy_id_of_a_single_file_is_that_of_its_contents(tmp_path: Path) -> None:
    for name, text in (("a.gguf", b"GGUF"), ("b.gguf", b"GGUF"), ("c.gguf", b"GGUG")):
        (tmp_path / name).write_bytes(text)
    first, moved, other = (policy_id(tmp_path / f"{name}.gguf") for name in "abc")
    assert first == moved != other
