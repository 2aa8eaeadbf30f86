#!/usr/bin/env python3
"""kazoo's Lock, or the recipe named as its argument. A session that is lost is told by the client's listener, as kazoo's documentation advises."""
import json, os, sys, threading
from importlib.metadata import version

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import LockTimeout

out, sys.stdout = sys.stdout, sys.stderr
writing = threading.Lock()
held = {}


def say(**message):
    with writing:
        print(json.dumps(message), file=out, flush=True)


def listener(state):
    if state == KazooState.LOST:
        for name in list(held):
            say(lost=name, error="the session is lost")


say(hello={"name": "kazoo", "version": version("kazoo"), "capabilities": ["lost"]})
client = KazooClient(os.environ["FENCEPOST_SERVERS"], timeout=int(os.environ["FENCEPOST_LEASE_MS"]) / 1000)
client.add_listener(listener)
client.start()
recipe = getattr(client, sys.argv[1] if sys.argv[1:] else "Lock")
for line in sys.stdin:
    ask = json.loads(line)
    name = ask["lock"]
    try:
        if ask["op"] == "acquire":
            lock, wait = recipe("/" + name, "client " + os.environ["FENCEPOST_CLIENT"]), ask["wait_ms"] / 1000
            got = lock.acquire(timeout=wait) if wait else lock.acquire(blocking=False)
            if got:
                held[name] = lock
            say(id=ask["id"], result="ok" if got else "fail")
        else:
            say(id=ask["id"], result="released" if held.pop(name).release() else "expired")
    except LockTimeout:
        say(id=ask["id"], result="fail", error="timeout")
    except Exception as error:
        say(id=ask["id"], result="unknown", error=repr(error))
