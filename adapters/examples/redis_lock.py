#!/usr/bin/env python3
"""redis-py's own lock on one Redis server, as a defendant. Needs: pip install redis"""
import json, os, sys, time
from importlib.metadata import version

import redis
from redis.exceptions import LockNotOwnedError, RedisError

out, sys.stdout = sys.stdout, sys.stderr  # whatever the library prints goes to the log
host, port = os.environ["FENCEPOST_SERVERS"].split(",")[0].rsplit(":", 1)
lease = int(os.environ["FENCEPOST_LEASE_MS"]) / 1000
held = {}


def say(**message):
    print(json.dumps(message), file=out, flush=True)


say(hello={"name": "redis-py", "version": version("redis"), "capabilities": []})
server = redis.Redis(host=host, port=int(port), socket_timeout=1)
for line in sys.stdin:
    ask = json.loads(line)
    name, answer = ask["lock"], {}
    try:
        if ask["op"] == "acquire":
            lock = server.lock(name, timeout=lease, sleep=0.05, thread_local=False)
            got = lock.acquire(blocking_timeout=ask["wait_ms"] / 1000)
            if got:
                held[name] = lock
            answer = {"result": "ok" if got else "fail"}
        elif ask["op"] == "release":
            held.pop(name).release()
            answer = {"result": "released"}
    except LockNotOwnedError:
        answer = {"result": "expired"}
    except RedisError as error:
        answer = {"result": "unknown", "error": repr(error)}
    say(id=ask["id"], **answer)
