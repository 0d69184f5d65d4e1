"""gopark's benchmark: `python -m bench` from the root of the repository. README.md describes the method."""
