"""mstart1's hunk, and what newm, startm, stopm and the idle lists come to in a runtime that has worked and rests."""

from __future__ import annotations

import json
import os
import subprocess
import sys

CHILD = """
import json, time
from gopark.bridge import boot
from gopark.bridge.report import read
from gopark.runtime import mcache, runtime2
from tests.runtime import seam_child

for _ in range(5):
    seam_child.play()
sched = runtime2.sched.address
deadline = time.monotonic() + 20
while read(runtime2.Sched, sched, "nmidle") < read(runtime2.Sched, sched, "mcount") and time.monotonic() < deadline:
    time.sleep(0.01)
ms, m = [], read(runtime2.Sched, sched, "allm")
fields = ("mstartfn", "spinning", "p", "nextp", "mcache", "tid")
while m:
    ms.append({field: read(runtime2.M, m, field) for field in fields})
    m = read(runtime2.M, m, "alllink")
counts = ("gomaxprocs", "npidle", "nmidle", "mcount", "nmspinning", "runqsize")
print(json.dumps({"ms": ms, "empty": mcache.emptymcache.address,
                  **{name: read(runtime2.Sched, sched, name) for name in counts}}))
"""


def test_threads_started_worked_and_rest():
    """Every M was started with one static function or none, was counted as spinning once, and gave its P back."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "GOMAXPROCS": "3", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    ms = said["ms"]
    assert len(ms) == said["mcount"] >= 2
    static = {m["mstartfn"] for m in ms} - {0}
    assert len(static) == 1, "mspinning, the only function that threads are started with"
    assert said["nmspinning"] == 0, "whoever started a spinning M counted it, and it uncounted itself once"
    assert {(m["spinning"], m["p"], m["nextp"], m["mcache"]) for m in ms} == {(0, 0, 0, said["empty"])}
    assert len({m["tid"] for m in ms}) == len(ms)
    assert said["npidle"] == said["gomaxprocs"] == 3
    assert said["nmidle"] == said["mcount"]
    assert said["runqsize"] == 0
