#!/usr/bin/env python3
"""portalocker's RedisLock: a subscription is the lock. From 4.2.0 on it tells of a loss."""
import inspect, json, os, sys, threading
from importlib.metadata import version

import redis
from portalocker import AlreadyLocked, RedisLock

out, sys.stdout = sys.stdout, sys.stderr
writing = threading.Lock()
held = {}


def say(**message):
    with writing:
        print(json.dumps(message), file=out, flush=True)


tells = "on_lost" in inspect.signature(RedisLock).parameters
say(hello={"name": "portalocker", "version": version("portalocker"), "capabilities": ["lost"] if tells else []})
host, port = os.environ["FENCEPOST_SERVERS"].split(",")[0].rsplit(":", 1)
server = redis.Redis(host=host, port=int(port), decode_responses=True, health_check_interval=10)
lost = lambda lock: say(lost=lock.channel, error="the subscription is lost")
options = {"on_lost": lost, "interrupt_on_lost": False} if tells else {}
for line in sys.stdin:
    ask = json.loads(line)
    name = ask["lock"]
    try:
        if ask["op"] == "acquire":
            lock, wait = RedisLock(name, connection=server, check_interval=0.05, **options), ask["wait_ms"] / 1000
            lock.acquire(timeout=wait, fail_when_locked=not wait)
            held[name] = lock
            say(id=ask["id"], result="ok")
        else:
            held.pop(name).release()
            say(id=ask["id"], result="released")
    except AlreadyLocked:
        say(id=ask["id"], result="fail")
    except Exception as error:
        say(id=ask["id"], result="unknown", error=repr(error))
