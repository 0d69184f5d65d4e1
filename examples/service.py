"""A service on asyncio whose work is done by goroutines on all cores.

    gopark run examples/service.py [PORT]

Over TCP it answers each line `N` with the number of primes below N. The event loop reads, writes and waits; it never
computes. There are two ways from a coroutine to a goroutine, and this program shows both:

* `await asyncio.wrap_future(go.submit(f, x))` starts a run for one request. A client that hangs up cancels it: the
  goroutines of that run end.
* A channel that Python and goroutines share. One goroutine, started once, collects statistics: every run sends it
  what it has done, and `stats` asks it.

With no PORT it picks a free one, asks itself a few questions, prints the answers and ends.
"""

import asyncio
import sys

import gopark as go

PIECE = 1 << 15


@go.struct
class Report:
    """What one request took, or (reply is set) the question how much all have taken."""

    primes: int
    reply: go.Chan[tuple[int, int]]


@go.func
def keep_statistics(reports):
    """Adds up reports until the channel is closed; answers who asks."""
    requests, primes = 0, 0
    for report in reports:
        if report.reply is not None:
            report.reply.send((requests, primes))
        else:
            requests += 1
            primes += report.primes


@go.func
def count_between(low, high, counts):
    """Sends how many primes there are in [low, high)."""
    count = 0
    for n in range(max(low, 2), high):
        prime = True
        d = 2
        while prime and d * d <= n:
            prime = n % d != 0
            d += 1
        if prime:
            count += 1
    counts.send(count)


@go.func
def primes_below(n, reports):
    """The number of primes below n: a goroutine for each piece of the range."""
    pieces = (n + PIECE - 1) // PIECE
    counts = go.chan(int, 16)
    for i in range(pieces):
        go.spawn(count_between, i * PIECE, min(n, (i + 1) * PIECE), counts)
    total = 0
    for _ in range(pieces):
        total += counts.recv()
    reports.send(Report(total))
    return total


class Service:
    """The server; `async with Service() as port`."""

    def __init__(self, port: int = 0):
        self._port = port
        self._reports = go.chan(Report, 64)

    async def __aenter__(self) -> int:
        self._statistics = go.submit(keep_statistics, self._reports)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *exc):
        self._server.close()
        await self._server.wait_closed()
        self._reports.close()
        await asyncio.wrap_future(self._statistics)

    async def run_for_ever(self):
        await self._server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write((await self._answer(line.decode(errors="replace").strip()) + "\n").encode())
            await writer.drain()
        writer.close()

    async def _answer(self, line: str) -> str:
        if line == "stats":
            reply = go.chan(tuple[int, int], 1)
            self._reports.send(Report(0, reply))
            requests, primes = reply.recv()  # answered at once: a goroutine waits for nothing else
            return f"{requests} requests, {primes} primes"
        if not line.isdigit() or int(line) > 10**8:
            return f"error: {line!r} is no number up to 100000000, and not 'stats'"
        return str(await asyncio.wrap_future(go.submit(primes_below, int(line), self._reports)))


async def ask(port: int, lines: list[str]) -> list[str]:
    """Sends lines over one connection; the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for line in lines:
        writer.write(f"{line}\n".encode())
        answers.append((await reader.readline()).decode().strip())
    writer.close()
    return answers


async def demonstrate() -> None:
    async with Service() as port:
        lines = [["10", "1000"], ["200000"], ["ten"]]
        for asked, answered in zip(lines, await asyncio.gather(*(ask(port, each) for each in lines)), strict=True):
            for line, answer in zip(asked, answered, strict=True):
                print(f"{line:>8}  {answer}")
        print(f"{'stats':>8}  {(await ask(port, ['stats']))[0]}")


async def serve(port: int) -> None:
    service = Service(port)
    async with service as port:
        print(f"listening on 127.0.0.1:{port}", flush=True)
        await service.run_for_ever()


def main(*arguments):
    """Serves, or shows what it does."""
    if not arguments:
        asyncio.run(demonstrate())
    elif len(arguments) == 1 and isinstance(arguments[0], int) and 0 <= arguments[0] < 65536:
        asyncio.run(serve(arguments[0]))
    else:
        sys.exit("usage: gopark run examples/service.py [PORT]")


if __name__ == "__main__":
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))
