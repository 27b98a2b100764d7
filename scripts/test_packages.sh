#!/usr/bin/env bash
# Tests need the Debian packages chromium, postgresql, shellcheck and strace: install them as root, otherwise say what to type.
set -euo pipefail
missing=()
command -v chromium >/dev/null || missing+=(chromium)
{ command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 || missing+=(postgresql)
command -v shellcheck >/dev/null || missing+=(shellcheck)
command -v strace >/dev/null || missing+=(strace)
[ "${#missing[@]}" -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "Some tests will fail without ${missing[*]}. As root: apt-get install -y ${missing[*]}" >&2
  exit 0
fi
log=$(mktemp)
echo "Installing ${missing[*]} for the tests." >&2
# Tests make clusters of their own; Debian's would be one more server that runs.
if [ ! -e /etc/postgresql-common ]; then
  mkdir -p /etc/postgresql-common
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
fi
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y "${missing[@]}"; } >"$log" 2>&1
then
  tail -n 15 "$log" >&2
  echo "Installing ${missing[*]} failed: some tests will fail." >&2
fi
rm -f "$log"
