"""The Mandelbrot set, painted by as many goroutines as there are processors, and written to a PNG file.

    gopark run examples/mandelbrot.py mandelbrot.png
    gopark run examples/mandelbrot.py mandelbrot.png 1920 1280 1000

The picture is a NumPy array that all goroutines write in place. Rows near the middle take a hundred times as long as
those at the edge, so nobody is given a fixed share: the numbers of the rows go down a channel, and whoever is free
takes the next one. Writing the file takes Pillow (`pip install pillow`).
"""

import math
import sys

import numpy as np

import gopark as go


@go.func
def shade(x, y, limit):
    """The grey of the point x + iy: black in the set, and lighter the sooner the point is seen to leave."""
    re = 0.0
    im = 0.0
    for step in range(limit):
        re2 = re * re
        im2 = im * im
        if re2 + im2 > 256.0:
            smooth = step + 1 - math.log2(0.5 * math.log(re2 + im2))  # no bands between whole numbers of steps
            return np.uint8(255 * (1 - math.sqrt(math.sqrt(max(smooth, 0.0) / limit))))
        im = 2 * re * im + y
        re = re2 - im2 + x
    return np.uint8(0)


@go.func
def paint(image, limit, rows, done):
    """Paints rows until there are no more. The part of the plane that is shown is 3 wide, around -0.75."""
    height, width = image.shape
    scale = 3.0 / width
    for row in rows:
        y = (row - 0.5 * (height - 1)) * scale
        for column in range(width):
            image[row, column] = shade((column - 0.5 * (width - 1)) * scale - 0.75, y, limit)
    done.done()


@go.func
def render(image, limit, painters):
    """Paints the whole image and returns how many goroutines did."""
    rows = go.chan(int, 2 * painters)
    done = go.WaitGroup()
    done.add(painters)
    for _ in range(painters):
        go.spawn(paint, image, limit, rows, done)
    for row in range(image.shape[0]):
        rows.send(row)
    rows.close()
    done.wait()
    return painters


def main(path="mandelbrot.png", width=960, height=640, limit=500):
    """Writes the picture; `limit` steps decide that a point belongs to the set."""
    try:
        from PIL import Image
    except ImportError:
        sys.exit("mandelbrot.py writes its picture with Pillow: pip install pillow")
    if not all(isinstance(n, int) and n > 0 for n in (width, height, limit)):
        sys.exit("usage: gopark run examples/mandelbrot.py FILE.png [WIDTH HEIGHT [STEPS]], numbers above 0")
    image = np.zeros((height, width), np.uint8)
    painters = go.run(render, image, limit, go.gomaxprocs())
    try:
        Image.fromarray(image).save(str(path), format="PNG")
    except OSError as error:
        sys.exit(f"mandelbrot.py: {path}: {error.strerror}")
    print(f"{path}: {width} x {height}, {painters} goroutines")


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:]))
