"""The same on S3, as moto's server speaks it."""

import hashlib
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stand_in import hashes, run

from dpo_core.errors import StorageFailed
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.objects import Objects, open_objects
from tests.until import until


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"

    def made() -> bool:
        with suppress(OSError):
            request = urllib.request.Request(f"{address}/bucket", method="PUT")
            with urllib.request.urlopen(request):
                return True
        return False

    try:
        until(made, within_s=60)
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own chain of credentials."""
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_empty_machine_goes_on(tmp_path: Path) -> None:
    url = "s3://bucket/campaign"
    first = run(tmp_path / "a", url)
    assert len(first.made) == 12
    again = run(tmp_path / "b", url)
    assert again.made == [] and hashes(tmp_path / "a") == hashes(tmp_path / "b")
    policy = next((tmp_path / "b").glob("rounds/02/training-*/policy"))
    assert not any(policy.iterdir())
    fetched = sum(p.stat().st_size for p in (tmp_path / "b").rglob("*") if p.is_file())
    whole = sum(p.stat().st_size for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert fetched < whole / 3


@pytest.mark.usefixtures("environment")
def test_creating_what_is_there_is_refused_and_large_files_come_back(tmp_path: Path) -> None:
    objects: Objects = open_objects("s3://bucket/more")
    objects.create("x/1.json", b"first")
    with pytest.raises(StorageFailed):
        objects.create("x/1.json", b"second")
    assert objects.get("x/1.json") == b"first" and objects.get("x/2.json") is None
    assert objects.size("x/1.json") == 5 and objects.names("x") == ["1.json"]
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * (40 << 12))  # 40 MiB: several parts
    bucket = Bucket(objects, "s3://bucket/more")
    digest = hashlib.sha256(large.read_bytes()).hexdigest()
    assert bucket.upload(large, digest) and not bucket.upload(large, digest)
    assert bucket.fetch(digest, tmp_path / "back") == large.stat().st_size
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


@pytest.mark.usefixtures("environment")
def test_bucket_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="s3://nowhere/campaign"):
        run(tmp_path / "a", "s3://nowhere/campaign", patience_s=0.2)
