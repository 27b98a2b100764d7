"""Blobs of a branch that are in the bucket of its campaign."""

from hashlib import sha256
from pathlib import Path

import pytest

from dpo_core.errors import ArtifactCorrupted
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.objects import open_objects

CONTENT = b"weights" * 1000
DIGEST = sha256(CONTENT).hexdigest()


def bucket(folder: Path) -> Bucket:
    url = f"file://{folder}"
    return Bucket(open_objects(url, make=True), url, patience_s=0.5)


def test_a_branch_of_a_branch_reads_what_the_first_campaign_uploaded(tmp_path: Path) -> None:
    first, second, third = (bucket(tmp_path / name) for name in ("first", "second", "third"))
    assert not second.share(DIGEST, first), "nobody has it"
    assert first.upload(CONTENT, DIGEST)
    assert second.share(DIGEST, first) and third.share(DIGEST, second)
    for each in (second, third):
        assert each.has_blob(DIGEST) and not each.upload(CONTENT, DIGEST)
    assert not (tmp_path / "third" / "blobs" / DIGEST).exists()
    assert third.fetch(DIGEST, tmp_path / "here") == len(CONTENT)
    assert (tmp_path / "here").read_bytes() == CONTENT


def test_the_error_names_where_it_should_be(tmp_path: Path) -> None:
    first, second = bucket(tmp_path / "first"), bucket(tmp_path / "second")
    first.upload(CONTENT, DIGEST)
    second.share(DIGEST, first)
    (tmp_path / "first" / "blobs" / DIGEST).unlink()
    with pytest.raises(ArtifactCorrupted, match=f"not in {first.url}"):
        second.fetch(DIGEST, tmp_path / "here")
    assert not (tmp_path / "here").exists()
