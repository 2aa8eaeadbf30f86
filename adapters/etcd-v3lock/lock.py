#!/usr/bin/env python3
"""etcd's Lock service over its JSON gateway: a lease for each grant, kept alive until it is given back. The token is the
revision at which the lock was had. The service tells nobody of a lease that is over: noticing that is its caller's."""
import base64, json, os, sys, threading, urllib.request
from urllib.error import HTTPError

out, sys.stdout = sys.stdout, sys.stderr
hosts, held = os.environ["FENCEPOST_SERVERS"].split(","), {}
ttl = int(os.environ["FENCEPOST_LEASE_MS"]) // 1000
say = lambda **message: print(json.dumps(message), file=out, flush=True)


def call(path, patience=2.0, **body):
    try:
        request = urllib.request.Request(f"http://{hosts[0]}/v3/{path}", json.dumps(body).encode())
        return json.load(urllib.request.urlopen(request, timeout=patience))
    except HTTPError as refusal:
        raise RuntimeError(refusal.read().decode())
    except OSError:  # whether it was carried out nobody knows; the next request goes to another member
        hosts.append(hosts.pop(0))
        raise


def keep_alive(lease, over):
    while not over.wait(ttl / 3):
        try:
            call("lease/keepalive", ttl / 3, ID=lease)
        except Exception as error:
            print("not kept alive:", error)


def acquire(name, wait):
    lease, over = call("lease/grant", TTL=ttl)["ID"], threading.Event()
    held[name] = lease, over
    threading.Thread(target=keep_alive, args=(lease, over), daemon=True).start()
    got = call("lock/lock", wait, name=base64.b64encode(name.encode()).decode(), lease=lease)
    return int(got["header"]["revision"])


def give_back(name):
    lease, over = held.pop(name)
    over.set()
    call("lease/revoke", ID=lease)  # with it goes whatever was granted, or stands in line


say(hello={"name": "etcd-v3lock", "version": "3.5", "capabilities": ["token"]})
for line in sys.stdin:
    ask = json.loads(line)
    name = ask["lock"]
    try:
        if ask["op"] == "acquire":
            # The service cannot be asked without waiting: one attempt waits for a moment.
            say(id=ask["id"], result="ok", token=acquire(name, ask["wait_ms"] / 1000 or 0.3))
        else:
            give_back(name)
            say(id=ask["id"], result="released")
    except Exception as error:
        result = "expired" if "lease not found" in str(error) else "unknown"
        if ask["op"] == "acquire":
            try:
                give_back(name) if name in held else None
                result = "fail"
            except Exception as again:
                result = "fail" if "lease not found" in str(again) else "unknown"
        say(id=ask["id"], result=result, error=repr(error))
