#!/bin/bash
# Runs one etcd server of a static cluster.
#
#   ETCD_NUMBER    its number: 1, 2, 3
#   ETCD_MEMBERS   the peers' addresses by number, parted by spaces: "172.30.57.26 172.30.57.27 172.30.57.28"
set -euo pipefail

: "${ETCD_NUMBER:?is not set}" "${ETCD_MEMBERS:?is not set}"

read -r -a members <<<"$ETCD_MEMBERS"
number=$ETCD_NUMBER
own=${members[number - 1]}
peers=()
for index in "${!members[@]}"; do
  peers+=("etcd-$((index + 1))=http://${members[index]}:2380")
done
cluster=$(IFS=,; echo "${peers[*]}")
# What is not said here is etcd's to read from the environment, and these two are ours.
unset ETCD_NUMBER ETCD_MEMBERS

# Heartbeats and elections as etcd comes: 100 ms and 1 s. So the shortest lease is 2 s: etcd takes one and a half election
# timeouts, in whole seconds (server/etcdserver/server.go, `minTTL`). Every write is synced before it is answered.
# `exec`: etcd is process 1 and gets the signals.
exec etcd \
  --name "etcd-$number" \
  --data-dir /data/etcd \
  --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls "http://$own:2379" \
  --listen-peer-urls http://0.0.0.0:2380 --initial-advertise-peer-urls "http://$own:2380" \
  --initial-cluster "$cluster" --initial-cluster-state new --initial-cluster-token fencepost
