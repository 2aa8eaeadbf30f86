#!/bin/bash
# Runs one ZooKeeper server of a static ensemble.
#
#   ZOO_MY_ID     its number: 1, 2, 3, …
#   ZOO_SERVERS   who may be in the ensemble, parted by spaces: "server.1=172.30.57.21:2888:3888 server.2=…"
#   ZOO_COUNT     how many of them, from the first on, are (default: all)
#   ZOO_HEAP      most heap the JVM may take (default 192m)
set -euo pipefail

: "${ZOO_MY_ID:?is not set}" "${ZOO_SERVERS:?is not set}"

echo "$ZOO_MY_ID" >/data/myid
cat >/conf/zoo.cfg <<CFG
# Ticks of 200 ms, a tenth of what production uses, so that sessions of 0.4 s to 4 s (2 to 20 ticks) can be asked for
# and a trial sees several of them expire.
tickTime=200
# A server may be silent for 2 s before its leader or followers give it up. In ticks that is twice the usual 5: a JVM
# on a small, loaded machine stalls for hundreds of milliseconds whatever the tick, and an ensemble that falls apart by
# itself would be charged to the lock.
syncLimit=10
# 10 s to follow a leader at start: three JVMs start at once, and this limit costs nothing when they are quick.
initLimit=50
# Elections try a cut-off or frozen server for 1 s, not 5.
cnxTimeout=1000
dataDir=/data
clientPort=2181
# All clients reach a published port from one address, the gateway's.
maxClientCnxns=0
4lw.commands.whitelist=*
admin.enableServer=false
# A trial writes little; a smaller log file is quicker to start with.
preAllocSize=4096
snapCount=20000
CFG
# shellcheck disable=SC2086 # parted by spaces on purpose: one line for each
printf '%s\n' $ZOO_SERVERS | head -n "${ZOO_COUNT:-99}" >>/conf/zoo.cfg

# The wall clock of this server, and of no other process, is the harness's to move (docker/clockshim.c).
export LD_PRELOAD=/usr/local/lib/fencepost-clock.so

# `exec`: the JVM is process 1 and gets the signals. The serial collector and the first compiler tier start quickest
# and take the least of a small machine.
jars=/usr/share/java
exec java -Xmx"${ZOO_HEAP:-192m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto \
    -Dorg.slf4j.simpleLogger.logFile=System.out \
    -Dorg.slf4j.simpleLogger.showDateTime=true \
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS" \
    -Dorg.slf4j.simpleLogger.showThreadName=false \
    -Dorg.slf4j.simpleLogger.showShortLogName=true \
    -cp "$jars/zookeeper.jar:$jars/slf4j-simple.jar" \
    org.apache.zookeeper.server.quorum.QuorumPeerMain /conf/zoo.cfg
