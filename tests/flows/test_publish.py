"""A round's policy and its card, where the user wants them and nowhere else."""

import base64
import errno
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from small_campaign import ROOT
from written_campaign import Written

from dpo_core.campaign.current import PromotedPolicy
from dpo_core.errors import ArtifactCorrupted, BadInput, RatchetError
from flows.operations.publish import CARD, goes_to_hub, prepare, publish
from tests import typed

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "[click](javascript:alert(3)) ![x](http://evil/x.png)",
    "a | b\n\n# heading\n---\n* item",
    "`code` **bold** _it_ \x1b[31m \u202e nul\x00",
    "&lt;script&gt; &#60;b&#62; <http://evil>",
)


@pytest.fixture
def campaign(tmp_path: Path) -> Written:
    """Round 1 was promoted, round 2 was refused, round 3 is not there."""
    written = Written(tmp_path / "c", rounds=3)
    written.round(1, labels_by_source={"rule:my:rule": 40, "human:ann": 5, "human:bob": 2})
    written.round(2, promoted=False, decision="kept the previous policy: it lost")
    promoted = PromotedPolicy(1, f"{1:064x}", "rounds/01")
    written.store.remember("promoted", promoted)
    return written


def published(campaign: Written, to: str, **how: Any) -> str:
    options = {"number": None, "licence": None, "even_if_refused": False, **how}
    return publish(prepare(campaign.root, **options), to, "ratchet publish", private=True)


def read_card(text: str) -> tuple[dict[str, Any], str]:
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_a_folder_gets_the_promoted_policy_with_its_card(campaign: Written, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert published(campaign, str(out)) == str(out)
    made = campaign.training(1)
    for name in ("config.json", "model.safetensors"):
        assert (out / name).read_bytes() == made.path(f"policy/{name}").read_bytes()
    head, body = read_card((out / CARD).read_text())
    assert head["library_name"] == "transformers" and head["base_model"] == "nobody/loads-it"
    assert "license" not in head and "Not stated" in body
    for section in ("Data", "Rounds", "Judges", "Evaluation", "Lineage", "Limits", "Licence"):
        assert f"\n## {section}\n" in body
    # 0.62, 4 points to each side; 7 labels of 2 people, whose names are not told
    assert "| win rate vs. base | 62.0% [58.0, 66.0] |" in body
    assert "7 labels are human, by 2 annotators." in body and "ann" not in body.lower().split()
    assert "| `rule:my:rule` | 40 |" in body and f"`{1:064x}`" in body
    assert "Truth, safety and other tasks were not tested." in body
    with pytest.raises(BadInput, match="is not empty"):
        published(campaign, str(out))


def test_the_licence_is_the_users(campaign: Written) -> None:
    head, body = read_card(prepare(campaign.root, 1, "cc-by-4.0", even_if_refused=False).card)
    assert head["license"] == "cc-by-4.0" and "Not stated" not in body


def test_only_the_rounds_that_a_policy_came_through_are_its_data(tmp_path: Path) -> None:
    """Round 2 was refused, so round 3 went on from the policy of round 1."""
    written = Written(tmp_path / "c", rounds=3)
    first = written.round(1)
    written.round(2, promoted=False)
    third = written.round(3, previous_policy=first["policy"])
    card = prepare(tmp_path / "c", 3, None, even_if_refused=False).card
    pairs = first["pairs"] + third["pairs"]
    assert "In 2 rounds the policy answered 1,024 prompts" in card
    assert f"was trained on {pairs} preferences between them" in card
    rows = re.findall(r"^\| (\d) \| (yes|no) \| (yes|no) \|", card, re.MULTILINE)
    assert rows == [("1", "yes", "yes"), ("2", "no", "no"), ("3", "yes", "yes")]


def test_the_hubs_own_client_reads_the_head(campaign: Written) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(prepare(campaign.root, 1, "apache-2.0", even_if_refused=False).card)
    found = card.data.to_dict()
    assert found["license"] == "apache-2.0" and found["base_model"] == "nobody/loads-it"
    assert found["pipeline_tag"] == "text-generation" and "dpo" in found["tags"]


@pytest.mark.parametrize(("name", "kind"), [("base", "a folder"), ("base.gguf", "a GGUF file")])
def test_a_local_base_is_no_model_of_the_hub(tmp_path: Path, name: str, kind: str) -> None:
    written = Written(tmp_path / "c", policy={"model": str(tmp_path / "secret" / name)})
    written.round(1)
    head, body = read_card(prepare(tmp_path / "c", 1, None, even_if_refused=False).card)
    assert "base_model" not in head and f"- base: `{name}` ({kind})" in body
    assert "secret" not in body


def test_what_is_not_published(campaign: Written, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="rejected the policy of round 2: kept the previous policy"):
        published(campaign, str(tmp_path / "no"), number=2)
    with pytest.raises(BadInput, match=r"round 3 of .* is not finished"):
        published(campaign, str(tmp_path / "no"), number=3)
    out = tmp_path / "refused"
    published(campaign, str(out), number=2, even_if_refused=True)
    assert "- The gate did not promote this policy." in (out / CARD).read_text()
    campaign.store.prune(campaign.training(1), "policy")
    with pytest.raises(BadInput, match="weights of round 1 are gone: keep_policies removed them"):
        published(campaign, str(tmp_path / "no"))
    (campaign.training(2).path("policy/model.safetensors")).write_bytes(b"changed")
    with pytest.raises(ArtifactCorrupted):
        published(campaign, str(tmp_path / "no"), number=2, even_if_refused=True)
    assert not (tmp_path / "no").exists()


def test_places_that_cannot_be_are_named(
    campaign: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for no_place in ("s3://", "file:///", "://x"):
        with pytest.raises(BadInput, match="has no path"):
            published(campaign, no_place)
    (tmp_path / "file").touch()
    with pytest.raises(RatchetError, match="cannot be created: File exists"):
        published(campaign, str(tmp_path / "file" / "policy"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(RatchetError, match=r"cannot be written \(No space left.*nothing is there"):
        published(campaign, str(tmp_path / "policy"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "file"]


def test_the_attempt_that_was_judged_is_published(tmp_path: Path) -> None:
    """Two trainings of a round: the row names the first."""
    written = Written(tmp_path / "c", rounds=1)
    written.training(1, again=1)
    written.round(1)
    found = prepare(tmp_path / "c", 1, None, even_if_refused=False)
    weights = found.files["model.safetensors"]
    assert weights.read_bytes() == b"weights " + bytes([1])
    assert weights.is_relative_to(written.training(1).folder)


@pytest.mark.parametrize(
    ("to", "hub"),
    [
        ("me/model", True),
        ("./me/model", False),
        ("model", False),
        ("/a/b", False),
        ("a/b/c", False),
    ],
)
def test_only_a_name_and_a_model_is_the_hub(
    to: str, hub: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert goes_to_hub(to) is hub
    (tmp_path / "me").mkdir()
    assert not goes_to_hub("me/model"), "there is a folder of that name"


def test_an_fsspec_url_can_be_repeated_and_is_whole_when_its_card_is_there(
    campaign: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    url = f"file://{tmp_path}/bucket/model"
    put = LocalFileSystem.put_file

    def torn(self: Any, source: str, target: str) -> None:
        if target.endswith("model.safetensors"):
            raise OSError("the network went away")
        put(self, source, target)

    with monkeypatch.context() as broken:
        broken.setattr(LocalFileSystem, "put_file", torn)
        with pytest.raises(RatchetError, match=r"cannot be written .*went away") as failed:
            published(campaign, url)
    assert "ratchet publish" in failed.value.shown() and failed.value.exit_code == 1
    there = tmp_path / "bucket" / "model"
    assert not (there / CARD).exists()
    for _ in range(2):  # the second finds that nothing is left to do
        assert published(campaign, url) == url
    assert sorted(p.name for p in there.iterdir()) == [CARD, "config.json", "model.safetensors"]
    with pytest.raises(BadInput, match="holds another policy"):
        published(campaign, url, number=2, even_if_refused=True)


def test_hostile_texts_are_text_in_the_card(tmp_path: Path) -> None:
    written = Written(tmp_path / "c", rounds=1)
    written.round(
        1,
        dropped=dict.fromkeys(HOSTILE, 1),
        labels_by_source=dict.fromkeys(HOSTILE, 2),
        warnings={str(n): text for n, text in enumerate(HOSTILE)},
        suites={text: {"score": 0.5, "failed": True} for text in HOSTILE},
        slices={text: {"win_rate": 0.5, "flagged": True, "prompts": 3} for text in HOSTILE},
    )
    _, body = read_card(prepare(tmp_path / "c", 1, None, even_if_refused=False).card)
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    allowed = {
        "h1",
        "h2",
        "p",
        "ul",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "pre",
    }
    assert set(re.findall(r"</?([a-z0-9]+)", page)) <= allowed
    assert "alert(1)" in page and page.count("<h1>") == 1
    assert page.count("<h2>") == 8 and not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", body)
    rows = [line for line in body.splitlines() if line.startswith("|")]
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
    assert columns <= {3, 4, 9}, "a text made a cell of its own"


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub as one push needs; `asked` keeps what was."""

    asked: list[tuple[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        lines = [json.loads(line) for line in body.splitlines() if line]
        self.asked.append((self.path, lines))
        url, oid = f"http://{self.headers['host']}/me/model", "0" * 40
        answer: dict[str, Any] = {
            "url": url,
            "commitUrl": f"{url}/commit/{oid}",
            "commitOid": oid,
        }
        if "preupload" in self.path:
            names = [file["path"] for file in lines[0]["files"]]
            files = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            answer = {"files": files}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    asked: list[tuple[str, Any]] = []
    handler = type("Hub", (_Hub,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def ratchet(folder: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env = {**kept, "PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "hf"), **more}
    return typed.ratchet(arguments, folder, env)


def test_the_hub_gets_policy_and_card_in_one_commit(campaign: Written, tmp_path: Path) -> None:
    with hub() as (address, asked):
        where = {"HF_ENDPOINT": address, "HF_TOKEN": "hf_secretsecret"}
        done = ratchet(tmp_path, "publish", "c", "--to", "me/model", **where)
    assert done.returncode == 0, done.stderr
    assert "publishing to the hub as me/model; for a folder, give ./me/model" in done.stdout
    made = next(body for path, body in asked if path == "/api/repos/create")
    assert made[0].get("private") is True or made[0].get("visibility") == "private"
    [commit] = [body for path, body in asked if "/commit/" in path]
    assert commit[0]["value"]["summary"] == "Round 1 of written"
    files = {line["value"]["path"]: line["value"] for line in commit[1:]}
    assert sorted(files) == [CARD, "config.json", "model.safetensors"]
    assert b"# written, round 1" in base64.b64decode(files[CARD]["content"])


def test_without_a_token_or_a_network_it_says_so_in_one_error(
    campaign: Written, tmp_path: Path
) -> None:
    without = ratchet(tmp_path, "publish", "c", "--to", "me/model")
    assert without.returncode == 2 and "there is no token" in without.stderr
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_secretsecret"}
    failed = ratchet(tmp_path, "publish", "c", "--to", "me/model", **nowhere)
    assert failed.returncode == 1 and "the hub cannot be reached" in failed.stderr
    assert "ratchet publish c --to me/model" in failed.stderr
    assert "secret" not in failed.stderr + failed.stdout and "Traceback" not in failed.stderr
