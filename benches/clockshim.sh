#!/usr/bin/env bash
# What the shims cost a Redis server: SETs and GETs per second with them and without, side by side.
#
#   benches/clockshim.sh [ROUNDS] [REQUESTS]
#
# Two servers from the image fencepost-redis (`fencepost cluster up` builds it), one as the cluster runs it, with a page
# for its clock, one with nothing preloaded. In each round both are asked in turn, so that whatever else the machine does
# is felt by both; the medians of the rounds' ratios are printed.
set -euo pipefail
rounds=${1:-10} requests=${2:-100000}
page=$(mktemp -d)
chmod 755 "$page" && truncate -s 4096 "$page/page" && chmod 644 "$page/page"
names=("fencepost-bench-shims-$$" "fencepost-bench-plain-$$")
trap 'docker rm --force --volumes "${names[@]}" >/dev/null 2>&1 || true; rm -rf "$page"' EXIT

label=io.fencepost.cluster=fencepost
docker run --detach --label $label --name "${names[0]}" -v "$page:/run/fencepost-clock:ro" fencepost-redis >/dev/null
docker run --detach --label $label --name "${names[1]}" --entrypoint redis-server fencepost-redis \
  --save '' --appendonly no --auto-aof-rewrite-percentage 0 --bind 0.0.0.0 --protected-mode no >/dev/null
for name in "${names[@]}"; do
  until docker exec "$name" redis-cli ping >/dev/null 2>&1; do sleep 0.2; done
done
docker exec "${names[0]}" grep -q fencepost-clock /proc/1/maps
! docker exec "${names[1]}" grep -q fencepost-clock /proc/1/maps

# Requests per second of SET and GET, one a line.
ask() {
  docker exec "$1" redis-benchmark -t set,get -n "$requests" -c 20 -P 1 --csv | awk -F'"' '/^"(SET|GET)"/ {print $4}'
}

printf '%5s %12s %12s %7s   %12s %12s %7s\n' round 'SET shims' 'SET plain' ratio 'GET shims' 'GET plain' ratio
for round in $(seq "$rounds"); do
  # The order changes from round to round: who is first has no advantage in the end.
  if ((round % 2)); then
    mapfile -t with < <(ask "${names[0]}") && mapfile -t without < <(ask "${names[1]}")
  else
    mapfile -t without < <(ask "${names[1]}") && mapfile -t with < <(ask "${names[0]}")
  fi
  echo "$round ${with[0]} ${without[0]} ${with[1]} ${without[1]}"
done | awk '
  { set[NR] = $2 / $3; get[NR] = $4 / $5
    printf "%5d %12.0f %12.0f %7.3f   %12.0f %12.0f %7.3f\n", $1, $2, $3, $2 / $3, $4, $5, $4 / $5; fflush() }
  function median(of, n,   i, j, t) {
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (of[j] < of[i]) { t = of[i]; of[i] = of[j]; of[j] = t }
    return n % 2 ? of[(n + 1) / 2] : (of[n / 2] + of[n / 2 + 1]) / 2
  }
  END { printf "median ratio, shims / plain: SET %.3f, GET %.3f\n", median(set, NR), median(get, NR) }'
