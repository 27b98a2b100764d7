"""Another argilla-server, or one that was changed, is refused before it serves anything."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from dpo_core.errors import LabelServerFailed
from labeling.server import process, start
from labeling.server.environment import ensure_python

ALTERATIONS = '''
import json
from ratchet_argilla import contract, request, serving

found = {"unchanged": list(contract.differences())}

def altered(place, name, value):
    """What differs while place.name is something else, or is not there."""
    kept = place.__dict__[name]
    setattr(place, name, value) if value is not None else delattr(place, name)
    try:
        return list(contract.differences())
    finally:
        setattr(place, name, kept)

def other(something_else): ...

for place, name, _ in contract.SIGNATURES:
    found[f"{name} taken away"] = altered(place, name, None)
    found[f"{name} with other parameters"] = altered(place, name, other)
found["a new abstract method"] = altered(
    contract.base.SearchEngine, "__abstractmethods__", frozenset({*contract.ABSTRACT, "rank"})
)
for function, name, _ in contract.LOOKED_UP:
    code = contract.inspect.unwrap(function).__code__
    renamed = tuple("other" if n == name else n for n in code.co_names)
    function = contract.inspect.unwrap(function)
    function.__code__ = code.replace(co_names=renamed)
    found[f"{function.__name__} without {name}"] = list(contract.differences())
    function.__code__ = code
for job in (contract.webhook_jobs.notify_event_job, contract.hub_jobs.export_dataset_to_hub_job):
    found[f"{job.__name__} without delay"] = altered(job, "delay", None)
contract.COLUMNS[contract.models.Record] += " of_another_version"
found["a column less"] = list(contract.differences())
asked = request.Request(".", "127.0.0.1", 0, False, "owner", "", "", "", "", "", "", [])
try:
    serving.serve(asked, None)
except RuntimeError as error:
    found["served"] = str(error).splitlines()[1:]
print(json.dumps(found))
'''


def test_each_point_that_is_relied_on_is_checked(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "PYTHONPATH": str(process.EMBEDDED),
        "TMPDIR": str(tmp_path),
        "ARGILLA_HOME_PATH": str(tmp_path),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [str(ensure_python(print)), "-c", ALTERATIONS]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("unchanged") == []
    assert found["served"] == ["  the table records has no column of_another_version"]
    assert not (tmp_path / "argilla.db").exists()  # it is told before
    assert len(found) > 50
    assert [name for name, differences in found.items() if not differences] == []


def test_the_server_does_not_start_as_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "VERSION", "2.9.0")
    with pytest.raises(LabelServerFailed, match=r"2\.8\.0 is installed, but Ratchet needs 2\.9\.0"):
        start(tmp_path / "argilla")
