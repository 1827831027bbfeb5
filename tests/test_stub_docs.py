"""The stub's docstrings are the extension's, and the check of that can fail."""

from __future__ import annotations

import ast

from tools import stub_docs

SOURCE = stub_docs.STUB.read_text(encoding="utf-8")


def test_the_stub_says_what_the_extension_says():
    assert stub_docs.differences(SOURCE) == []
    assert stub_docs.written(SOURCE) == SOURCE
    tree = ast.parse(SOURCE)
    said = {name for name, node in stub_docs.definitions(tree) if ast.get_docstring(node)}
    assert {"Nursery", "Nursery.start_soon", "CancelScope.cancel", "fail_after", "sleep"} <= said


def test_a_docstring_that_differs_is_found_and_written():
    changed = SOURCE.replace("Start a child and return its task;", "Begin something;")
    assert changed != SOURCE
    assert stub_docs.differences(changed) == ["Nursery.start_soon"]
    assert stub_docs.written(changed) == SOURCE


def test_a_docstring_that_is_missing_or_too_many_is_found():
    stub = (
        "class CancelScope:\n    @property\n    def shield(self) -> bool: ...\n"
        'class Wait:\n    """Too many."""\n    def close(self) -> None: ...\n'
    )
    found = ["CancelScope", "CancelScope.shield", "Wait"]
    assert stub_docs.differences(stub) == found
    assert stub_docs.differences(stub_docs.written(stub)) == []
