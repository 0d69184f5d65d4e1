"""In a notebook: cells that are run again, with the kernel's event loop running."""

from __future__ import annotations

import nbclient
import nbformat
import pytest

from tests.semantics.subprocesses import environment

IMPORT = "import asyncio, gopark as go"
STRUCT = """
@go.struct
class Job:
    n: int
"""
OTHER_STRUCT = """
@go.struct
class Job:
    name: int
    n: float
"""
FUNCTIONS = """
@go.func
def worker(jobs, out):
    for job in jobs:
        out.send(job.n)
    out.close()

@go.func
def main(n):
    jobs, out = go.chan(Job), go.chan(type_of_n, n + 1)
    go.spawn(worker, jobs, out)
    for i in range(n):
        jobs.send(Job(n=i))
    jobs.close()
    total = 0
    for x in out:
        total += x
    return total
"""
RECURSIVE = """
@go.func
def even(n):
    return {base} if n == 0 else odd(n - 1)

@go.func
def odd(n):
    return 0 if n == 0 else even(n - 1)
"""


@pytest.fixture(autouse=True)
def tidy():
    """In place of the fixture that all tests here have: the client of the kernel keeps threads and sockets."""


def results(cells: list[str]) -> list[str]:
    """What the last expression of each cell shows, all run in one kernel."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbclient.NotebookClient(notebook, timeout=100, kernel_name="python3", extra_arguments=[]).execute(env=environment())
    shown = []
    for cell in notebook.cells:
        texts = [o["data"]["text/plain"] for o in cell.outputs if o.output_type == "execute_result"]
        shown.append(texts[-1] if texts else "")
    return shown


def test_cells_that_are_run_again():
    integers = "type_of_n = int"
    floats = "type_of_n = float"
    run = "go.run(main, 10)"
    shown = results(
        [
            IMPORT,
            *(integers, STRUCT, FUNCTIONS, run, "old_main, old = main, Job(3)", "old"),
            *(STRUCT, FUNCTIONS, run),  # the same cells again: other types and functions
            *(floats, OTHER_STRUCT, FUNCTIONS, run, "Job(1, 2)"),  # changed cells
            "go.run(old_main, 10), old.n",  # what the old ones made still works
            "try:\n    go.chan(Job).send(old)\nexcept TypeError as e:\n    text = str(e)\n'another definition' in text",
            "@go.func\ndef get(job):\n    return job.n\n(get(old), get(Job(n=2)))",
            *(RECURSIVE.format(base="1"), "go.run(even, 10)", "old_even = even"),
            *(RECURSIVE.format(base="(1, 2.5)").replace("return 0 if", "return (0, 0.5) if"), "go.run(even, 10)"),
            "go.run(old_even, 11), go.run(old_even, 12)",
            "await asyncio.wrap_future(go.submit(main, 10))",
            "[x.result() for x in [go.submit(main, i) for i in range(3)]]",
        ]
    )
    shown = [text for text in shown if text]
    assert shown == [
        "45",
        "Job(n=3)",
        "45",
        "45.0",
        "Job(name=1, n=2.0)",
        "(45, 3)",
        "True",
        "(3, 2.0)",
        "1",
        "(1, 2.5)",
        "(0, 1)",
        "45.0",
        "[0.0, 0.0, 1.0]",
    ]
