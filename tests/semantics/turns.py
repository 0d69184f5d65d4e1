"""Who waits for whom without a clock: goroutines that let others run."""

from __future__ import annotations

import gopark as go


@go.func
def wait_for(log, at, mark):
    while log[at] < mark:
        go.gosched()


@go.func
def let_others_run(rounds):
    for _ in range(rounds):
        go.gosched()
