#!/usr/bin/env python3
"""sherlock's RedisLock, renewed while it is held. Its leases are whole seconds."""
import json, math, os, sys, time
from importlib.metadata import version

import redis
from sherlock import LockException, LockTimeoutException, RedisLock

out, sys.stdout = sys.stdout, sys.stderr
lease = math.ceil(int(os.environ["FENCEPOST_LEASE_MS"]) / 1000)
held = {}


def say(**message):
    print(json.dumps(message), file=out, flush=True)


say(hello={"name": "sherlock", "version": version("sherlock"), "capabilities": ["extend"]})
host, port = os.environ["FENCEPOST_SERVERS"].split(",")[0].rsplit(":", 1)
server = redis.StrictRedis(host=host, port=int(port), socket_timeout=1)
for line in sys.stdin:
    ask = json.loads(line)
    name = ask["lock"]
    try:
        if ask["op"] == "acquire":
            lock = RedisLock(name, client=server, expire=lease, timeout=ask["wait_ms"] / 1000, retry_interval=0.05)
            lock.acquire()
            held[name] = lock
            say(id=ask["id"], result="ok")
        elif ask["op"] == "extend":
            say(id=ask["id"], result="ok" if held[name].renew() else "fail")
        else:
            held.pop(name).release()
            say(id=ask["id"], result="released")
    except LockTimeoutException:
        say(id=ask["id"], result="fail")
    except LockException as error:
        say(id=ask["id"], result="expired", error=str(error))
    except Exception as error:
        say(id=ask["id"], result="unknown", error=repr(error))
