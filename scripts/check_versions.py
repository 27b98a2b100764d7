"""Whether pyproject.toml's profiles can be installed, together and one after the other.

pip resolves, without installing, the core, the packages of the profiles gpu and cpu, and the core
with each, for every Python that the project allows. What joins a core installation must change
nothing in it: that is refused. Where the core comes second, it may bring other versions of what a
profile alone takes; they are told, and that they fit both is what the joint solution shows.

Needs a package index, some minutes and no space; what was found fits until pyproject.toml changes,
so it is kept beside the environment for a week. `python scripts/check_versions.py [--again]`
"""

import json
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = Path(sys.prefix) / ".versions.json"
KEPT_S = 7 * 24 * 3600
PYTHONS = ("3.11", "3.12", "3.13")
PROFILES = ("gpu", "cpu")
AT_ONCE = 4  # it waits for the index more than it computes

# pip has wheels chosen for another Python, but reads markers by its own.
PIP = """
import sys
from pip._vendor.packaging import markers
from pip._internal.cli.main import main
version, own = sys.argv.pop(1), markers.default_environment
markers.default_environment = lambda: {
    **own(), "python_version": version, "python_full_version": version + ".0"
}
sys.exit(main())
"""

# Of torch for CPU, which only PyTorch's own index has for every Python, what it asks for.
TORCH_CPU = "2.13.0+cpu"
TORCH_NEEDS = (
    "filelock",
    "typing-extensions>=4.10",
    "sympy>=1.13.3",
    "networkx",
    "jinja2",
    "fsspec",
)

Versions = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One resolution; `name` is `core`, a profile, or `core + PROFILE`."""

    python: str
    name: str
    requirements: tuple[str, ...]


class Unsolvable(Exception):
    """pip found no solution; the message is the end of what it said."""


def cases(project: Mapping[str, object]) -> Iterator[Case]:
    core, extras = project["dependencies"], project["optional-dependencies"]
    assert isinstance(core, list) and isinstance(extras, dict)
    for python in PYTHONS:
        yield Case(python, "core", tuple(core))
        for profile in PROFILES:
            yield Case(python, profile, tuple(extras[profile]))
            yield Case(python, f"core + {profile}", (*core, *extras[profile]))


def resolved(case: Case, wheels: Path) -> Versions:
    """package → version. Raises Unsolvable."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        command = [sys.executable, "-c", PIP, case.python, "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--report", str(report), "--target", f"{place}/none"]
        command += ["--only-binary=:all:", "--python-version", case.python]
        if "cpu" in case.name:
            command += ["--find-links", str(wheels), f"torch=={TORCH_CPU}"]
        run = subprocess.run([*command, *case.requirements], capture_output=True, text=True)
        if run.returncode:
            raise Unsolvable("\n".join(run.stderr.strip().splitlines()[-12:]))
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {_plain(f["metadata"]["name"]): f["metadata"]["version"] for f in found}


def changes(found: Mapping[tuple[str, str], Versions]) -> Iterator[str]:
    """What would change when one side joins the other."""
    for (python, name), versions in found.items():
        joint = [p for p in PROFILES if name in ("core", p)]
        for profile in joint:
            both = found.get((python, f"core + {profile}"), {})
            other = profile if name == "core" else "core"
            for package, version in versions.items():
                if package in both and both[package] != version:
                    yield (
                        f"Python {python}: {name} alone takes {package} {version}, and {other} "
                        f"wants {both[package]} beside it: bound it in pyproject.toml"
                    )


def stand_in(folder: Path) -> None:
    """A wheel without content that asks for what torch for CPU asks for."""
    name = f"torch-{TORCH_CPU}"
    needs = "".join(f"Requires-Dist: {need}\n" for need in TORCH_NEEDS)
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {TORCH_CPU}\n{needs}",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: here\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(f"{name}.dist-info/{file}", text)


def reachable() -> bool:
    """Whether some index answers."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    with tempfile.TemporaryDirectory() as place:
        asked = [*command, "--dest", place, "typing-extensions"]
        return subprocess.run(asked, capture_output=True).returncode == 0


def main() -> int:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    depends = json.dumps([project["dependencies"], project["optional-dependencies"]])
    state = sha256((depends + Path(__file__).read_text(encoding="utf-8")).encode()).hexdigest()
    if "--again" not in sys.argv and _is_kept(state):
        print(f"Versions fit, as found {time.ctime(json.loads(KEPT.read_text())['at'])}.")
        return 0
    if not reachable():
        print("NOT CHECKED: no package index answers, so it is unknown whether versions fit.")
        return 0
    return _check(project, state)


def _check(project: Mapping[str, object], state: str) -> int:
    started, found, wrong = time.time(), {}, []

    def solve(case: Case) -> tuple[Case, Versions | Unsolvable]:
        try:
            return case, resolved(case, Path(wheels))
        except Unsolvable as error:
            return case, error

    with tempfile.TemporaryDirectory() as wheels, ThreadPoolExecutor(AT_ONCE) as pool:
        stand_in(Path(wheels))
        for case, versions in pool.map(solve, cases(project)):
            if isinstance(versions, Unsolvable):
                wrong.append(f"Python {case.python}, {case.name}: no solution\n{versions}")
            else:
                found[case.python, case.name] = versions
                print(f"Python {case.python}, {case.name}: {len(versions)} packages", flush=True)
    told = sorted(set(changes(found)))
    wrong += [change for change in told if ": core alone" in change]
    print("\n".join(f"Told: {change}" for change in told if change not in wrong))
    print("\n".join(wrong) or f"Versions fit, in {time.time() - started:.0f} s.")
    if not wrong:
        KEPT.write_text(json.dumps({"state": state, "at": time.time()}), encoding="utf-8")
    return int(bool(wrong))


def _is_kept(state: str) -> bool:
    if not KEPT.exists():
        return False
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    return bool(kept["state"] == state and time.time() - kept["at"] < KEPT_S)


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


if __name__ == "__main__":
    sys.exit(main())
