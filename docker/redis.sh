#!/bin/bash
# Runs one Redis server whose persistence can be chosen while it runs, and outlives its kills and restarts.
#
# - What CONFIG SET and CONFIG REWRITE left in /data/redis.conf is in force again after a restart. The first time it is:
#   no persistence, as Redlock's critics assume, and as the default image of most deployments runs; a restart forgets.
# - If the file `power-loss` lies beside the clock's page, the machine has lost power: of the append-only file only what
#   was synced is left (docker/syncshim.c), and what was cut is printed.
# - A later argument wins over an earlier one (`command: ["--appendonly", "yes"]` in a compose file, say).
set -euo pipefail
cd /data

lose_power() {
  local -A synced=()
  local inode birth length rest file size id
  while read -r inode birth length rest; do
    id=$inode:$birth
    if ((inode && length > ${synced[$id]:-0})); then synced[$id]=$length; fi
  done < <(od -An -v -t d8 -w32 synced)
  for file in appendonlydir/*; do
    [ -e "$file" ] || continue
    read -r inode birth size < <(stat -c '%i %.9W %s' "$file")
    length=${synced[$inode:$((10#${birth/./}))]:-0}
    if ((size > length)); then truncate -s "$length" "$file"; else length=$size; fi
    echo "power loss: ${file##*/} had $size bytes, $length are left"
  done
  # What is left is on the disk.
  : >synced && truncate -s 4096 synced
  if [ -e appendonlydir ]; then
    find appendonlydir -type f -exec env LD_PRELOAD=/usr/local/lib/fencepost-sync.so sync {} +
  fi
  echo 'power loss: done'
}

[ -e synced ] || truncate -s 4096 synced
[ -e redis.conf ] || printf '%s\n' 'appendonly no' 'save ""' 'auto-aof-rewrite-percentage 0' >redis.conf
[ ! -e /run/fencepost-clock/power-loss ] || lose_power

export LD_PRELOAD=/usr/local/lib/fencepost-clock.so:/usr/local/lib/fencepost-sync.so
exec redis-server redis.conf --bind 0.0.0.0 --port 6379 --protected-mode no --dir /data "$@"
