"""Mutants that nothing kills, and why: each is either as good as the original, or costs nothing but time.

A name, or the beginning of one -> the reason. The runner's page lists them; a mutant that is killed must not be here.
"""

from __future__ import annotations

SURVIVORS: dict[str, str] = {}
