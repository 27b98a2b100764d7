#!/usr/bin/env bash
# The browser tests need chromium: install it as root, otherwise say what to type.
set -euo pipefail
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "The browser tests will fail without chromium. As root: apt-get install -y chromium" >&2
  exit 0
fi
log=$(mktemp)
echo "Installing chromium for the browser tests." >&2
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y chromium; } >"$log" 2>&1
then
  tail -n 15 "$log" >&2
  echo "Installing chromium failed: the browser tests will fail." >&2
fi
rm -f "$log"
