#!/usr/bin/env bash
# What the design's table asks for, measured on this machine now. Needs a release build and the images (`make bench`).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${BIN:-target/release}
bench=$bin/timonel-bench
# The tests' crate is built quickly and runs slowly; what measures must not.
cargo build --release --quiet --config 'profile.release.package.timonel-tests.opt-level=3' \
  -p timonel -p timonctl -p timonel-tests --features timonel-tests/bench --bin timonel-bench

memory() { # resident megabytes of a process
  awk '/VmRSS/ {printf "%.0f MB", $2 / 1024}' "/proc/$1/status"
}

echo "== API server alone (redb), durable creates and lists"
dir=$(mktemp -d)
"$bin/timonel" apiserver --data-dir "$dir" --bind-address 127.0.0.1 --secure-port 16443 2>"$dir/log" &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
until "$bin/timonctl" --kubeconfig "$dir/admin.kubeconfig" get --raw /readyz >/dev/null 2>&1; do sleep 0.05; done
echo "resident when idle: $(memory $server)"
measure() { "$bench" --kubeconfig "$dir/admin.kubeconfig" "$@"; }
for clients in 1 32; do measure --clients $clients create; done
measure --clients 32 get
measure --clients 32 patch
measure --clients 32 --objects 3200 delete
measure --clients 1 --objects 5000 select
measure --clients 100 watch
measure --clients 1 --objects 5000 list
echo "resident after that: $(memory $server)"
kill $server; wait $server 2>/dev/null || true

echo "== Lab of three nodes: power to Ready"
[[ ! -d /var/lib/timonel/lab ]] || { echo "A lab is up; remove it first: make lab-down"; exit 1; }
start=$(date +%s.%N)
"$bin/timonel" lab up --nodes 3 --images target/images >/dev/null
config=/var/lib/timonel/lab/admin.kubeconfig
ctl="$bin/timonctl --kubeconfig $config"
until [[ $($ctl get nodes --no-headers 2>/dev/null | grep -cw Ready) == 3 ]]; do sleep 0.1; done
echo "three Ready nodes after $(echo "$(date +%s.%N) - $start" | bc) s"
$ctl create deployment first --image=timonel.dev/demo:1.0 >/dev/null
$ctl rollout status deployment/first >/dev/null
echo "first pod Ready after $(echo "$(date +%s.%N) - $start" | bc) s"
$ctl delete deployment first >/dev/null
"$bench" --kubeconfig $config --objects 50 ready
sleep 20
for pid in $(pgrep -f 'timonel (server|agent) '); do
  echo "idle: $(tr '\0' ' ' </proc/"$pid"/cmdline | cut -d' ' -f1-2) $(memory "$pid")"
done
"$bin/timonel" lab down >/dev/null
