#!/usr/bin/env python3
"""tooz's lock over Redis, ZooKeeper or etcd, with its own heartbeat in the background."""
import json, math, os, sys
from importlib.metadata import version

from tenacity import RetryError
from tooz import coordination

out, sys.stdout = sys.stdout, sys.stderr
lease = math.ceil(int(os.environ["FENCEPOST_LEASE_MS"]) / 1000)
held = {}


def say(**message):
    print(json.dumps(message), file=out, flush=True)


backend = os.environ["FENCEPOST_BACKEND"]
# Its driver for etcd cannot tell whether a lock is held.
say(hello={"name": "tooz", "version": version("tooz"), "capabilities": [] if backend == "etcd" else ["is_valid"]})
first, *others = os.environ["FENCEPOST_SERVERS"].split(",")
if backend == "redis":
    url = f"redis://{first}?timeout={lease}&lock_timeout={lease}"
elif backend == "etcd":
    url = f"etcd3+http://{first}?timeout={lease}&lock_timeout={lease}&membership_timeout={lease}"
else:
    url = f"kazoo://{first}?timeout={lease}&hosts={','.join([first, *others])}"
coordinator = coordination.get_coordinator(url, os.environ["FENCEPOST_CLIENT"].encode())
coordinator.start(start_heart=True)
for line in sys.stdin:
    ask = json.loads(line)
    name = ask["lock"]
    try:
        if ask["op"] == "acquire":
            lock, wait = coordinator.get_lock(name.encode()), ask["wait_ms"] / 1000
            if backend == "etcd":  # its `timeout` is the lease's, its `blocking` how long to try
                got = lock.acquire(blocking=wait or False)
            else:
                got = lock.acquire(blocking=True, timeout=wait) if wait else lock.acquire(blocking=False)
            if got:
                held[name] = lock
            say(id=ask["id"], result="ok" if got else "fail")
        elif ask["op"] == "is_valid":
            say(id=ask["id"], result="ok" if held[name].is_still_owner() else "expired")
        else:
            say(id=ask["id"], result="released" if held.pop(name).release() else "expired")
    except RetryError as error:  # each attempt found it held
        say(id=ask["id"], result="fail", error=repr(error))
    except Exception as error:
        say(id=ask["id"], result="unknown", error=repr(error))
