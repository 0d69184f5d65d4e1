"""Four workers square the numbers that one goroutine hands them, and answer on the channel each job brings along.

gopark run examples/squares.py 1000
python examples/squares.py
"""

import gopark as go


@go.struct
class Job:
    """A number, and where to send its square."""

    n: int
    reply: go.Chan[int]


@go.func
def worker(jobs, done):
    """Answers jobs until the channel is closed and drained."""
    for job in jobs:
        job.reply.send(job.n * job.n)
    done.done()


@go.func
def main(n=1000):
    """Returns the sum of the squares below `n`."""
    jobs = go.chan(Job, 64)
    done = go.WaitGroup()
    for _ in range(4):
        done.add(1)
        go.spawn(worker, jobs, done)
    total = 0
    reply = go.chan(int)
    for i in range(n):
        jobs.send(Job(i, reply))
        total += reply.recv()
    jobs.close()
    done.wait()
    return total


if __name__ == "__main__":
    print(go.run(main, 1000))
