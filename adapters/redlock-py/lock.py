#!/usr/bin/env python3
"""redlock-py: Redlock over all the Redis masters. It tells how long a grant is valid."""
import json, os, sys, time
from importlib.metadata import version

from redlock import Redlock

out, sys.stdout = sys.stdout, sys.stderr
lease = int(os.environ["FENCEPOST_LEASE_MS"])
held = {}


def say(**message):
    print(json.dumps(message), file=out, flush=True)


say(hello={"name": "redlock-py", "version": version("redlock-py"), "capabilities": ["valid_for"]})
servers = [server.rsplit(":", 1) for server in os.environ["FENCEPOST_SERVERS"].split(",")]
locks = Redlock([{"host": host, "port": int(port)} for host, port in servers], retry_count=1, retry_delay=0.05)
for line in sys.stdin:
    ask = json.loads(line)
    name = ask["lock"]
    try:
        if ask["op"] == "acquire":
            end = time.monotonic() + ask["wait_ms"] / 1000
            while not (lock := locks.lock(name, lease)) and time.monotonic() < end:
                pass  # it waits between its tries by itself
            if lock:
                held[name] = lock
                say(id=ask["id"], result="ok", valid_for_ms=lock.validity, now_ns=time.monotonic_ns())
            else:
                say(id=ask["id"], result="fail")
        else:
            locks.unlock(held.pop(name))
            say(id=ask["id"], result="released")
    except Exception as error:
        say(id=ask["id"], result="unknown", error=repr(error))
