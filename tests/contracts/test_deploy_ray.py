"""deploy/ray offline: manifests by Kubernetes' schemas and ours, scripts by shellcheck."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from flows.config import load_config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "ray"
README = (FOLDER / "README.md").read_text()
IMAGE = (FOLDER / "Containerfile").read_text()
MANIFESTS: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    for name in ("rayjob", "raycluster", "campaign")
}
KUBERNETES = ("1.33", "1.37")
[RAY] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][
    "ray"
]


def keys(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    """The schema of an object with these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


NAMED = keys({"name": {"type": "string"}})
PARAMS = {"type": "object", "additionalProperties": {"type": "string"}}
TEMPLATE = keys({"spec": {"type": "object"}})
COUNT = {"type": "integer", "minimum": 0}
CLUSTER = keys(
    {
        "rayVersion": {"const": RAY.partition("==")[2]},
        "authOptions": keys(
            {"mode": {"const": "token"}, "secretName": {"const": "ratchet-ray-token"}}
        ),
        "headGroupSpec": keys({"rayStartParams": PARAMS, "template": TEMPLATE}),
        "workerGroupSpecs": {
            "type": "array",
            "minItems": 1,
            "items": keys(
                {
                    "groupName": {"type": "string"},
                    "replicas": COUNT,
                    "minReplicas": COUNT,
                    "maxReplicas": COUNT,
                    "rayStartParams": PARAMS,
                    "template": TEMPLATE,
                }
            ),
        },
    }
)
RAY_KINDS = {
    "rayjob": (
        "RayJob",
        keys(
            {
                "entrypoint": {"type": "string"},
                "shutdownAfterJobFinishes": {"const": True},
                "backoffLimit": COUNT,
                "rayClusterSpec": CLUSTER,
            }
        ),
    ),
    "raycluster": ("RayCluster", CLUSTER),
}
"""What KubeRay 1.7 knows and these files use: a misspelt key is dropped there without a word."""


@pytest.mark.parametrize("name", RAY_KINDS)
def test_kuberays_own_keys(name: str) -> None:
    kind, spec = RAY_KINDS[name]
    version = {"const": "ray.io/v1"}
    schema = keys({"apiVersion": version, "kind": {"const": kind}, "metadata": NAMED, "spec": spec})
    Draft202012Validator.check_schema(schema)
    errors = Draft202012Validator(schema).iter_errors(MANIFESTS[name])
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The spec of each pod, by a name."""
    for name, manifest in MANIFESTS.items():
        spec = manifest["spec"]
        if name == "campaign":
            yield name, spec["template"]["spec"]
            continue
        cluster = spec.get("rayClusterSpec", spec)
        yield f"{name}-head", cluster["headGroupSpec"]["template"]["spec"]
        for group in cluster["workerGroupSpecs"]:
            yield f"{name}-{group['groupName']}", group["template"]["spec"]


PODS = dict(pods())


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", PODS)
def test_pods_fit_kubernetes_schema(name: str, version: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": PODS[name]}
    assert kubernetes_validate.validate(pod, version, strict=True) == version


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_campaigns_job_fits_kubernetes_schema(version: str) -> None:
    assert kubernetes_validate.validate(MANIFESTS["campaign"], version, strict=True) == version


def test_a_misspelt_key_is_found() -> None:
    pod = {"containers": [{"name": "a", "image": "b", "volumeMount": []}]}
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(whole, "1.37", strict=True)


WORKERS = {"rayjob": "rayjob-gpu", "campaign": "raycluster-gpu"}


def command_of(name: str) -> list[str]:
    """The arguments of `ratchet run` in a manifest."""
    if name == "rayjob":
        return shlex.split(MANIFESTS[name]["spec"]["entrypoint"])[1:]
    [script] = MANIFESTS[name]["spec"]["template"]["spec"]["containers"][0]["args"]
    lines = script.replace("\\\n", " ").replace("$CLUSTER", "head:1").splitlines()
    return shlex.split(lines[-1])[3:]


@pytest.mark.parametrize("name", ["rayjob", "campaign"])
def test_a_campaign_takes_the_arguments(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, *rest = command_of(name)
    overrides = [value for before, value in itertools.pairwise(rest) if before == "--set"]
    monkeypatch.setattr("flows.config.reading.read_stored_config", lambda url: None)
    cluster = ["compute.kind=ray", "compute.address=head:1"]  # ratchet-job says it for a RayJob
    loaded = load_config(ROOT / "configs" / "demo-cpu.yaml", [*overrides, *cluster])
    caches = [m["mountPath"] for m in PODS[WORKERS[name]]["containers"][0]["volumeMounts"]]
    assert loaded.compute.cache_dir in caches
    assert loaded.storage.url is not None and loaded.storage.url.endswith("/my-campaign")
    assert (config, rest[:2]) == ("campaign.yaml", ["--campaign-dir", "/campaign/files"])
    assert loaded.sampling.dtype == loaded.training.compute_dtype == "bfloat16"


def test_the_campaigns_pod_shows_the_clusters_token() -> None:
    [container] = PODS["campaign"]["containers"]
    settings = {each["name"]: each for each in container["env"]}
    token = {"name": "ratchet-ray-token", "key": "auth_token"}
    assert settings["RAY_AUTH_MODE"]["value"] == "token"
    assert settings["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == token
    cluster = MANIFESTS["raycluster"]["metadata"]["name"]
    assert settings["CLUSTER"]["value"] == f"{cluster}-head-svc:6379"


@pytest.mark.parametrize("name", PODS)
def test_pods_run_one_image_without_rights_or_secrets_of_their_own(name: str) -> None:
    pod = PODS[name]
    [container] = pod["containers"]
    assert container["image"] == "YOUR-REGISTRY/ratchet:1"
    assert pod["securityContext"]["runAsNonRoot"] is True
    mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
    assert mounted == {volume["name"] for volume in pod.get("volumes", ())}
    assert not [each for each in container.get("env", ()) if "TOKEN" in each.get("value", "")]


def test_the_image_has_the_ray_that_is_tested() -> None:
    assert f"ray[default]{RAY.removeprefix('ray')}" in IMAGE
    assert "RAY_USAGE_STATS_ENABLED=0 RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9/" in IMAGE
    assert "USER 1000" in IMAGE


@pytest.mark.parametrize("code, job", [(0, 0), (1, 1), (2, 2), (75, 0), (130, 130)])
def test_missing_labels_are_no_failure_of_a_rayjob(
    code: int, job: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (FOLDER / "ratchet-job").read_text().replace("/config", str(tmp_path))
    stand_in = tmp_path / "ratchet"
    stand_in.write_text(f'#!/bin/sh\nprintf "%s|" "$@" "$PWD" >"{tmp_path}/seen"\nexit {code}\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    ran = subprocess.run(["bash", "-c", script, "ratchet-job", "a b.yaml", "--wait"])
    assert ran.returncode == job
    said = (tmp_path / "seen").read_text()
    cluster = "--set|compute.kind=ray|--set|compute.address=10.0.0.1:6379"
    assert said == f"run|a b.yaml|--wait|{cluster}|{tmp_path}|"


def scripts(folder: Path) -> Iterator[Path]:
    """Every shell script of deploy/ray and its tests, the manifests' and README's own included."""
    yield from (FOLDER / "campaign.sbatch", FOLDER / "ratchet-job")
    yield from sorted((Path(__file__).parent / "slurm").iterdir())
    [of_job] = PODS["campaign"]["containers"][0]["args"]
    written = {"job": "CLUSTER=here\n" + of_job}
    blocks = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    written |= {f"readme-{number}": block for number, block in enumerate(blocks)}
    for name, text in written.items():
        path = folder / f"{name}.sh"
        path.write_text(f"#!/usr/bin/env bash\n# shellcheck disable=SC2034\n{text}")
        yield path


def test_shell_scripts(tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs the Debian package shellcheck")
    command = ["shellcheck", "--norc", "--exclude=SC1091", *map(str, scripts(tmp_path))]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_documented_token_becomes_a_secret_that_pods_ask_for(tmp_path: Path) -> None:
    """README's own line, run with a stand-in that writes down what kubectl is told."""
    [line] = [text for text in README.splitlines() if "create secret generic ratchet-ray-" in text]
    (tmp_path / "kubectl").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "kubectl").chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-euc", line], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    [given] = [word for word in ran.stdout.splitlines() if word.startswith("--from-literal")]
    assert re.fullmatch(r"--from-literal=auth_token=[0-9a-f]{64}", given)


def test_the_readme_names_every_file() -> None:
    missing = [path.name for path in FOLDER.iterdir() if path.name not in README]
    assert missing == []
