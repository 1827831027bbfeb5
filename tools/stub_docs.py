"""Puts the docstrings of the extension into its stub, so that an editor's hover shows them.

    python tools/stub_docs.py           check that the stub has what the extension says
    python tools/stub_docs.py --write   write it

The extension is where a docstring is written. Of an overloaded function the first overload has it.
Must never change anything else of the stub.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import aionursery
from aionursery import _aionursery

STUB = Path(aionursery.__file__).with_name("_aionursery.pyi")
#: What stands in for the bodies of functions and classes in a stub.
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    """Give each class and function of a stub with its name, a method as ``Class.method``."""
    for node in tree.body:
        if isinstance(node, Definition):
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, Definition):
                    yield f"{node.name}.{method.name}", method


def is_setter(node: Definition) -> bool:
    return any(isinstance(name, ast.Attribute) for name in node.decorator_list)


def said(name: str) -> str:
    """Return the extension's docstring; an empty one if it has none of its own."""
    found: object = _aionursery
    for part in name.split("."):
        owner, found = found, inspect.getattr_static(found, part, None)
    if found is None or name.rpartition(".")[2].startswith("__"):
        return ""
    if isinstance(owner, type) and part not in vars(owner):
        return ""
    return inspect.cleandoc(getattr(found, "__doc__", None) or "")


def wanted(tree: ast.Module) -> Iterator[tuple[str, Definition, str]]:
    """Give each definition that has a docstring here or there, with the extension's."""
    seen = set()
    for name, node in definitions(tree):
        text = "" if name in seen or is_setter(node) else said(name)
        seen.add(name)
        yield name, node, text


def differences(source: str) -> list[str]:
    """Return the names whose docstring in the stub is another than the extension's."""
    return [
        name
        for name, node, text in wanted(ast.parse(source))
        if inspect.cleandoc(ast.get_docstring(node) or "") != text
    ]


def written(source: str) -> str:
    """Return the stub with the extension's docstrings in it."""
    lines = source.splitlines()
    # From the end to the beginning: the lines before stay where they are.
    for _, node, text in reversed(list(wanted(ast.parse(source)))):
        first = node.body[0]
        indent = " " * (node.col_offset + 4)
        doc = [f'"""{text}"""'] if "\n" not in text else [f'"""{text}', '"""']
        new = [line.rstrip() for line in textwrap.indent("\n".join(doc), indent).splitlines()]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            start, end = first.lineno - 1, first.end_lineno
            if first.value.value is not ...:
                # A docstring stands before what it belongs to, or instead of "...".
                alone = len(node.body) == 1
                lines[start:end] = new if text else [f"{indent}..."] if alone else []
            elif text:
                # "def f() -> None: ...", on one line or in its own.
                head = lines[start][: first.col_offset].rstrip()
                lines[start:end] = ([head] if head else []) + new
        elif text:
            start = first.lineno - 1
            if decorators := getattr(first, "decorator_list", None):
                start = decorators[0].lineno - 1
            lines[start:start] = [*new, ""]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="The docstrings of the extension's stub.")
    parser.add_argument("--write", action="store_true", help="write them into the stub")
    options = parser.parse_args()
    source = STUB.read_text(encoding="utf-8")
    if options.write:
        STUB.write_text(written(source), encoding="utf-8")
        return 0
    different = differences(source)
    for name in different:
        print(f"{STUB}: the docstring of {name} is not the extension's", file=sys.stderr)
    if different:
        print("make format writes them", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
