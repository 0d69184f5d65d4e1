"""docs/reference.md is what the docstrings say, and they say something about every public name."""

from __future__ import annotations

from collections import Counter

import gopark as go
from tests.docs import reference


def test_the_page_is_what_the_docstrings_say():
    assert reference.PAGE.read_text() == reference.page(), "write it anew: python -m tests.docs.reference --write"


def test_every_public_name_is_there_once():
    assert Counter(name for names in reference.SECTIONS.values() for name in names) == Counter(go.__all__)


def test_an_indented_block_becomes_a_program():
    docstring = "One.\n\n    @go.func\n    def f():\n        pass\n\n\n    print(1)  # 1\n\nTwo."
    assert reference.markdown(docstring) == (
        "One.\n\n```python\nimport gopark as go\n\n\n@go.func\ndef f():\n    pass\n\n\nprint(1)  # 1\n```\n\nTwo."
    )
