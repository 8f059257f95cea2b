#!/usr/bin/env bash
# Applies the sample workload, waits until it is Ready, and says what there is. For `make lab`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ctl=${BIN:-target/release}/timonctl
export KUBECONFIG=${KUBECONFIG:-/var/lib/timonel/lab/admin.kubeconfig}

"$ctl" apply -f "$here/../manifests/hello.yaml"
"$ctl" --namespace demo rollout status deployment/hello --timeout 120s
echo
"$ctl" get nodes -o wide
echo
"$ctl" get pods --all-namespaces -o wide
cat <<TEXT

kubeconfig: $KUBECONFIG

Try next:
  export KUBECONFIG=$KUBECONFIG
  $ctl -n demo exec deploy/hello -- rm /tmp/healthy          # the liveness probe fails; watch it heal: $ctl -n demo get pods -w
  $ctl -n demo set image deployment/hello demo=timonel.dev/demo:2.0 && $ctl -n demo rollout status deployment/hello
  ${BIN:-target/release}/timonel lab node kill node-2        # a power cut; bring it back with: ... lab node start node-2
  $ctl -n demo describe deployment hello
  ${BIN:-target/release}/timonel lab status                  # remove it all with: make lab-down
TEXT
