"""How to install what is missing: in a checkout by its scripts, from a wheel by pip."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def is_checkout() -> bool:
    """Whether this is the source tree, where `make` works, and not an installed wheel."""
    return (_ROOT / "Makefile").is_file() and (_ROOT / "scripts" / "setup.sh").is_file()


def install(extra: str) -> str:
    """The command that adds an extra's packages."""
    if is_checkout():
        return f"pip install -e '.[{extra}]'"
    return f"pip install 'ratchet-dpo[{extra}]'"


def install_cpu_profile() -> str:
    """The command that installs every package of the CPU profile, in its locked version."""
    if is_checkout():
        return "make setup"
    locked = _ROOT / "flows" / "constraints" / "cpu.txt"
    return f"pip install --no-deps --extra-index-url {TORCH_CPU_INDEX} -r {locked}"


def page(name: str) -> str:
    """A page of the documentation, which is not in the wheel."""
    return f"docs/{name}" if is_checkout() else f"{name} of Ratchet's documentation"
