"""Lower the runtime of the gopark on PYTHONPATH, check it, print the report as JSON: what `gopark vet --json` does.

Used by the mutants only as long as that command is not there. Exit status 1: there are violations.
"""

from __future__ import annotations

import json
import sys

from gopark import runtime
from gopark.compiler import image, wbcheck

units, _, _ = runtime.load_units()
infos = image.lower_all(units)
roots = {
    f.symbol: wbcheck.State.P if f.entered == image.WITH_P else wbcheck.State.NONE
    for f in image.RuntimeFunction.BY_SYMBOL.values()
    if f.entered is not None
}
report = wbcheck.check(infos, roots)
json.dump(report.to_json(), sys.stdout)
sys.exit(0 if report.ok else 1)
