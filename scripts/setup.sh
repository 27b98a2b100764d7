#!/usr/bin/env bash
# Make VENV ready for the CPU profile: exactly the packages of constraints/cpu.txt, and this project.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
venv=${1:-.venv}

python=$(find_python)
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
log=$venv/setup.log
say "Setting up $venv with $("$venv/bin/python" --version): about 3 GB, one to a few minutes. Log: $log"

failed() {
  say ""
  say "Set-up failed. The end of $log:"
  grep -v 'is ignored' "$log" | tail -n 15 >&2
  say ""
  say "A network error: run the same command again, it goes on where it stopped."
  say "Anything else: 'make clean' removes $venv; then try once more."
  exit 1
}

install_all() {
  install_torch "$venv"
  # --no-deps: the file is complete, so pip need not resolve, and leaves out what it leaves out.
  "$venv/bin/pip" install --no-deps -r constraints/cpu.txt
  "$venv/bin/pip" install --no-deps --no-build-isolation -e .
  # The first campaign would wait for the empty Prefect database.
  "$venv/bin/python" -c "from flows.prefect.server import cache_empty_database as cache; cache()"
}

install_all >"$log" 2>&1 || failed
say "Ready after $SECONDS s."
