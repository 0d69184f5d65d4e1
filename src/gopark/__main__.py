"""`python -m gopark` is the command `gopark`."""

import sys

from gopark.cli import main

sys.exit(main())
