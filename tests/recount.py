#!/usr/bin/env python3
"""Counts a run's telling figures again from its stored histories, without any of fencepost's code, and compares them with
verdict.json. Usage: recount.py RUN-FOLDER... ; exits 1 if a figure differs."""
import json
import sys
from pathlib import Path


def too_many(kind, held):
    """Whether so many, each shared or not, may not hold a lock of this kind at once."""
    if kind.startswith("semaphore:"):
        return len(held) > int(kind.split(":")[1])
    return len(held) > 1 and not (kind == "read-write" and all(held))


def crowds(kind, holds):
    """How many grants were made beside those who kept them out, and for how long too many held a lock."""
    grants, spans = 0, []
    for lock in {hold["lock"] for hold in holds}:
        own = [hold for hold in holds if hold["lock"] == lock and hold["from"] < hold["to"]]
        own.sort(key=lambda hold: hold["from"])
        active = []
        for hold in own:
            active = [other for other in active if other["to"] > hold["from"]]
            # What was too much before the grant is so after it, and no grant's doing unless it is kept out itself.
            kept_out = kind.startswith("semaphore:") or not hold["shared"] or not all(o["shared"] for o in active)
            active.append(hold)
            grants += kept_out and too_many(kind, [other["shared"] for other in active])
        moments = sorted({moment for hold in own for moment in (hold["from"], hold["to"])})
        starts, active = 0, []
        for since, until in zip(moments, moments[1:]):
            active = [hold for hold in active if hold["to"] > since]
            while starts < len(own) and own[starts]["from"] <= since:
                active.append(own[starts])
                starts += 1
            if too_many(kind, [hold["shared"] for hold in active]):
                spans.append((since, until))
    total, end = 0, 0
    for since, until in sorted(spans):
        total += max(until, end) - max(since, end)
        end = max(until, end)
    return grants, total


def recount(path):
    header, *ops = (json.loads(line) for line in path.open())
    kind = header.get("kind", "mutex")
    ops = [op for op in ops if "end" not in op and "server" not in op]
    end = ops[-1]["time"] if ops else 0
    holds, place = [], {}
    for op in ops:
        if not isinstance(op["process"], int):
            continue
        if op["f"] == "acquire" and op["type"] == "ok":
            place[op["hold"]] = len(holds)
            holds.append({"client": op["client"], "lock": op["lock"], "from": op["time"], "to": None,
                          "shared": op.get("shared", False)})
        elif op["f"] == "crash":
            for hold in holds:
                if hold["client"] == op["client"] and hold["to"] is None:
                    hold["to"] = op["time"]
        elif (op["f"], op["type"]) == ("release", "invoke") or op["f"] == "lost":
            known = place.get(op.get("hold"))
            if known is not None and holds[known]["to"] is None:
                holds[known]["to"] = op["time"]
    for hold in holds:
        hold["to"] = end if hold["to"] is None else hold["to"]
    overlaps, overlap = (0, 0) if kind == "mutex" else crowds(kind, holds)
    for at, one in enumerate(holds if kind == "mutex" else []):
        for other in holds[at + 1:]:
            if other["from"] >= one["to"]:
                break
            if other["lock"] == one["lock"]:
                shared = min(one["to"], other["to"]) - other["from"]
                overlaps += shared > 0
                overlap += max(shared, 0)
    # The final value of an item descends from a chain of writes; an acknowledged write that is not on it is lost.
    served = [op for op in ops if op["process"] == "resource" and op["f"] == "write" and op["type"] == "ok"]
    writes = {}
    for op in served:
        writes.setdefault(op["value"]["item"], {})[op["value"]["version"]] = op
    kept = set()
    for item, versions in writes.items():
        version = max(versions)
        while version in versions:
            kept.add((item, version))
            version = versions[version]["value"].get("based-on", 0)
    made = {}
    for op in served:
        made[(op["hold"], op["value"]["item"], op["value"]["version"])] = True
    acknowledged = [op for op in ops if isinstance(op["process"], int) and op["f"] == "write" and op["type"] == "ok"]
    lost = sum((op["value"]["item"], op["value"].get("version")) not in kept for op in acknowledged)
    accesses = [op for op in ops if op["process"] == "resource" and op["f"] in ("read", "write")]
    return {
        ("coverage", "grants"): len(holds),
        ("mutual-exclusion", "holds"): len(holds),
        ("mutual-exclusion", "overlaps"): overlaps,
        ("mutual-exclusion", "overlap-ms"): overlap / 1e6,
        ("lost-updates", "acknowledged"): len(acknowledged),
        ("lost-updates", "lost"): lost,
        ("fencing", "accesses"): len(accesses),
        ("fencing", "accepted"): sum(op["type"] == "ok" for op in accesses),
    }


def main(folders):
    compared = differing = 0
    for folder in map(Path, folders):
        verdict = json.loads((folder / "verdict.json").read_text())
        for lock, told in verdict["locks"].items():
            for (check, name), counted in recount(folder / lock / "history.jsonl").items():
                figure = told["checks"].get(check, {}).get("figures", {}).get(name)
                if figure is None:
                    continue
                compared += 1
                if abs(figure - counted) > 1e-6 * max(1, abs(counted)):
                    differing += 1
                    print(f"{folder} {lock}: {check} {name} is {figure}, recounted {counted}")
            overlaps = told["checks"]["mutual-exclusion"]["figures"].get("overlaps", 0)
            grouped = sum(incident["violations"].get("mutual-exclusion", 0) for incident in told["incidents"])
            if told["incidents_in_all"] == len(told["incidents"]) and grouped != overlaps:
                differing += 1
                print(f"{folder} {lock}: incidents hold {grouped} overlaps of {overlaps}")
            compared += 1
    print(f"{compared} figures compared, {differing} differ")
    return differing > 0 or compared == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
