"""A real campaign in a bucket: an empty machine goes on with it, and commands take its URL."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_campaign import RUN, Campaign

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.hashing import file_sha256
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.objects import open_objects
from dpo_core.storage.uploads import stored as stored_in
from dpo_core.training.results import TrainingFacts
from tests.until import until

_EVEN = "--even-if-refused"
SETTINGS = ("--set", "storage.lease_s=1")


@pytest.fixture(scope="module")
def stored(finished: Campaign, tmp_path_factory: pytest.TempPathFactory) -> tuple[Campaign, str]:
    """A finished campaign, and the URL of the bucket to which it was brought afterwards."""
    folder = tmp_path_factory.mktemp("stored")
    campaign = finished.copied(folder / "first")
    campaign.variables["XDG_CACHE_HOME"] = str(folder / "cache")
    url = f"file://{folder}/bucket"
    done = campaign.run("--set", f"storage.url={url}", *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert f"storage: all of it is in {url}" in done.stdout
    return campaign, url


def _fetched(folder: Path, bucket: Path) -> int:
    """Bytes of the segments, and of blobs that are in the folder as files."""
    here = {file_sha256(path) for path in folder.rglob("*") if path.is_file()}
    read = [path for path in bucket.glob("blobs/*") if path.name in here]
    return sum(path.stat().st_size for path in (*read, *bucket.glob("ledger/*")))


def _size(folder: Path) -> int:
    """Bytes of what steps made and of what grows."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files if path.suffix != ".html")


def test_empty_machine_makes_nothing_again_and_fetches_little(
    stored: tuple[Campaign, str],
) -> None:
    campaign, url = stored
    folder = campaign.folder / "second"
    command = ("run", "small.yaml", "--campaign-dir", str(folder), "--no-prefect")
    done = campaign.ratchet(*command, "--set", f"storage.url={url}", *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert "finished steps taken from disk\nstorage: " in done.stdout
    old, new = Ledger(campaign.layout.ledger), Ledger(folder / "ledger.jsonl")
    assert old.read() == new.read()
    assert _fetched(folder, Path(url.removeprefix("file://"))) < _size(campaign.layout.root) / 3
    assert not [*folder.rglob("*.safetensors")]


def test_another_round_on_another_machine_fetches_what_it_reads(
    stored: tuple[Campaign, str],
) -> None:
    """The bucket is left as it was: this goes on in a copy."""
    campaign, url = stored
    bucket = Path(url.removeprefix("file://"))
    copied = bucket.with_name("another")
    shutil.copytree(bucket, copied)
    folder = campaign.folder / "third"
    command = ("run", "small.yaml", "--campaign-dir", str(folder), "--no-prefect", *SETTINGS)
    done = campaign.ratchet(*command, "--set", f"storage.url=file://{copied}", "--set", "rounds=3")
    assert done.returncode == 0, done.stderr
    before, after = Ledger(campaign.layout.ledger).read(), Ledger(folder / "ledger.jsonl").read()
    assert after[: len(before)] == before
    assert {entry.round for entry in after[len(before) :]} == {3}
    status = campaign.ratchet("status", f"file://{copied}", "--json")
    assert len(json.loads(status.stdout)["rounds"]) == 3


def test_commands_take_the_url(stored: tuple[Campaign, str], tmp_path: Path) -> None:
    campaign, url = stored
    root = str(campaign.layout.root)
    here, there = (
        campaign.ratchet("status", root, "--json"),
        campaign.ratchet("status", url, "--json"),
    )
    assert _same(here.stdout) == _same(there.stdout)
    shown = campaign.ratchet("status", url)
    assert f"Stored in {url}." in shown.stdout
    compared = campaign.ratchet("compare", root, url, "--json")
    assert compared.returncode == 0, compared.stderr
    page = tmp_path / "report.html"
    assert campaign.ratchet("report", url, "--output", str(page)).returncode == 0
    assert page.stat().st_size > 10_000
    exported = campaign.ratchet("export", url, str(tmp_path / "pairs"))
    assert exported.returncode == 0, exported.stderr
    to = tmp_path / "policy"
    published = campaign.ratchet("publish", url, "--to", str(to), "--round", "1", _EVEN)
    assert published.returncode == 0, published.stderr
    made = campaign.artifact(1, "training").path("policy/model.safetensors")
    assert file_sha256(to / "model.safetensors") == file_sha256(made)


def test_branch_of_a_url_stands_alone(stored: tuple[Campaign, str], tmp_path: Path) -> None:
    campaign, url = stored
    nowhere = campaign.ratchet("branch", url, "--from-round", "1")
    assert nowhere.returncode == 2 and "--campaign-dir" in nowhere.stderr
    folder = tmp_path / "branch"
    command = ("branch", url, "--from-round", "1", "--campaign-dir", str(folder))
    same = campaign.ratchet(*command, "--set", f"storage.url={url}")
    assert same.returncode == 2 and "is that of small" in same.stderr
    branched = campaign.ratchet(*command)
    assert branched.returncode == 0, branched.stderr
    assert not (folder / "storage.json").exists()
    weights = {path.parent.parent.name for path in folder.rglob("model.safetensors")}
    assert {name.partition("-")[0] for name in weights} == {"base", "training"}
    shown = campaign.ratchet("status", str(folder), "--json")
    assert len(json.loads(shown.stdout)["rounds"]) == 1


def test_branch_in_a_bucket_shares_what_its_campaign_has_there(
    stored: tuple[Campaign, str], tmp_path: Path
) -> None:
    campaign, url = stored
    folder, own = tmp_path / "branch", tmp_path / "its-bucket"
    setting = ("--set", f"storage.url=file://{own}")
    command = ("branch", url, "--from-round", "1", "--campaign-dir", str(folder), *setting)
    branched = campaign.ratchet(*command, "--set", "training.beta=0.3")
    assert branched.returncode == 0, branched.stderr
    there = (str(folder / "campaign.yaml"), "--campaign-dir", str(folder), "--no-prefect")
    done = campaign.ratchet("run", *there, *SETTINGS)
    assert done.returncode == 0, done.stderr
    entries = Ledger(folder / "ledger.jsonl").read()
    shared = {digest for e in entries if e.round < 2 for digest in e.outputs.values()}
    blobs = {path.name for path in own.glob("blobs/*")}
    assert {f"{digest}.url" for digest in shared} <= blobs and not shared & blobs
    [trained] = [entry for entry in entries if (entry.round, entry.step) == (2, "training")]
    assert {*trained.outputs.values()} <= {name.removesuffix(".url") for name in blobs}
    assert trained.outputs["policy/model.safetensors"] in blobs
    shutil.rmtree(folder)
    to = tmp_path / "policy"
    published = campaign.ratchet("publish", f"file://{own}", "--to", str(to), "--round", "1", _EVEN)
    assert published.returncode == 0, published.stderr
    made = campaign.artifact(1, "training").path("policy/model.safetensors")
    assert file_sha256(to / "model.safetensors") == file_sha256(made)


def test_training_goes_on_elsewhere_from_its_last_checkpoint(
    finished: Campaign, tmp_path: Path
) -> None:
    """The first machine is told to stop, and its disk is gone."""
    campaign = finished.copied(tmp_path / "first")
    settings = [f"storage.url=file://{tmp_path}/bucket", "storage.checkpoints=true"]
    settings += ["rounds=1", "training.epochs=60", "training.checkpoint_every=3"]
    command = [*RUN, *SETTINGS, *(part for each in settings for part in ("--set", each))]
    first = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *command],
        cwd=campaign.folder,
        env=campaign.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(campaign.layout.checkpoints)
        first.send_signal(signal.SIGTERM)
        assert first.wait(300) == 130
    finally:
        first.kill()
        first.wait()
    saved = {path.name for path in campaign.layout.checkpoints()}
    shutil.rmtree(campaign.layout.root)
    done = campaign.ratchet(*command)
    assert done.returncode == 0, done.stderr
    resumed = campaign.artifact(1, "training").facts(TrainingFacts).resumed_from_step
    assert {f"step-{resumed:08d}"} == saved and resumed > 0
    assert not campaign.layout.checkpoints()


def test_what_cannot_be_is_refused(stored: tuple[Campaign, str], tmp_path: Path) -> None:
    campaign, url = stored
    empty = tmp_path / "empty"

    def refused(*arguments: str, folder: Path = empty) -> str:
        command = ("run", "small.yaml", "--campaign-dir", str(folder), "--no-prefect")
        done = campaign.ratchet(*command, *arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert not empty.exists() or not (empty / "ledger.jsonl").exists()
        return done.stderr

    assert "secret" not in refused("--set", "storage.url=s3://me:secret@bucket/x")
    other = refused("--set", f"storage.url={url}", "--set", "name=other")
    assert "holds the campaign small, not other" in other
    moved = refused("--set", f"storage.url={url}-2", folder=campaign.layout.root)
    assert f"is stored in {url}" in moved
    (tmp_path / "file").write_text("")
    assert "cannot be a folder" in refused("--set", f"storage.url=file://{tmp_path}/file")
    gone = campaign.ratchet("status", "file:///no/such/bucket")
    assert gone.returncode == 2 and "there is no campaign in" in gone.stderr


def test_run_that_slept_ends_by_itself_once_another_has_taken_over(
    finished: Campaign, tmp_path: Path
) -> None:
    """In the middle of a step, which might take hours more."""
    campaign = finished.copied(tmp_path / "slept")
    url = f"file://{tmp_path}/bucket"
    settings = ("--set", f"storage.url={url}", *SETTINGS)
    changed = ("--set", "sft.steps=100000", "--set", "rounds=3")
    command = [sys.executable, "-m", "flows.cli", *RUN, *settings, *changed]
    slept = subprocess.Popen(
        command,
        cwd=campaign.folder,
        env=campaign.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: [*campaign.layout.root.glob("rounds/00/.base-*.partial")])
        slept.send_signal(signal.SIGSTOP)
        os.waitpid(slept.pid, os.WUNTRACED)
        bucket = Bucket(open_objects(url), url)
        other = Layout(tmp_path / "other")
        other.root.mkdir()
        with stored_in(other, bucket, 1.0):
            slept.send_signal(signal.SIGCONT)
            _, said = slept.communicate(timeout=60)
        assert slept.returncode == 1
        assert f"the campaign in {url} was taken over by" in said
    finally:
        slept.kill()
        slept.wait()


def _same(status: str) -> object:
    shown = json.loads(status)
    return {name: value for name, value in shown.items() if name not in ("directory", "campaign")}


def test_extra_that_is_not_installed_is_named(stored: tuple[Campaign, str], tmp_path: Path) -> None:
    (tmp_path / "obstore.py").write_text("raise ImportError('hidden')\n")
    campaign, url = stored
    hidden = Campaign(campaign.folder)
    hidden.variables["PYTHONPATH"] = f"{tmp_path}:{campaign.environment()['PYTHONPATH']}"
    done = hidden.ratchet(*RUN, "--set", f"storage.url={url}")
    assert done.returncode == 2 and "pip install -e '.[storage]'" in done.stderr
    assert hidden.ratchet("status", str(campaign.layout.root)).returncode == 0
