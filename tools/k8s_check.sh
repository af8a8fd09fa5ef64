#!/usr/bin/env bash
# The manifests of k8s/: rendered, by schema, policy and reference, and each container run as it is written. Needs Go, and
# root for the last: every pod gets a network and a view of the file system of its own, and all of it goes with the test.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/go_tools.sh
tools/check_packages.sh
[ "$(id -u)" = 0 ] || { echo "k8s_check: needs root, to give each pod a network of its own" >&2; exit 1; }
for tool in unshare nsenter setpriv mount ip; do
  command -v "$tool" >/dev/null || { echo "k8s_check: $tool is missing (packages util-linux, mount, iproute2)" >&2; exit 1; }
done
exec unshare --net --mount --pid --fork --mount-proc --kill-child tools/test.sh tests/k8s
