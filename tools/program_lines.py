"""Counts the lines of the seven programs of examples/programs, and keeps the table of the docs.

    python tools/program_lines.py [--write]

A line counts if it has code: blank lines, comments and docstrings do not. Prints the table; ends
with 1 if docs/programs.md has another, which `--write` puts there. Must never count anything but
the programs' own files.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "examples" / "programs"
PAGE = ROOT / "docs" / "programs.md"
#: What each program is written with.
LIBRARIES = ("aionursery", "anyio", "asyncio")
#: The programs by the names of their files, and what each shows.
TITLES = {
    "crawler": "crawler with limits and retries",
    "bot": "reconnecting bot with a heartbeat",
    "service": "ASGI service with jobs and SIGTERM",
    "hedged": "hedged requests",
    "pipeline": "pipeline with back-pressure that ends by itself",
    "compute": "computing in threads and processes, with cancellation",
    "daemons": "supervised daemons",
}
BEGIN, END = "<!-- counted by tools/program_lines.py -->\n", "<!-- end of the count -->\n"
#: Tokens that are no code.
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def lines_of(path: Path) -> int:
    """Return how many lines of a file have code."""
    counted: set[int] = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in LAYOUT and token.type != tokenize.ENCODING:
                counted.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                counted.difference_update(range(first.lineno, (first.end_lineno or 0) + 1))
    return len(counted)


def count() -> dict[str, list[int]]:
    """Return the lines of each program, with each library."""
    return {
        name: [lines_of(PROGRAMS / f"{name}_{library}.py") for library in LIBRARIES]
        for name in TITLES
    }


def table() -> str:
    """Return the table, as the docs have it."""
    links = "../examples/programs"
    rows = ["| | aionursery | anyio | asyncio |\n", "|--|--:|--:|--:|\n"]
    for name, lines in count().items():
        cells = [
            f"[{number}]({links}/{name}_{library}.py)"
            for number, library in zip(lines, LIBRARIES, strict=True)
        ]
        rows.append(f"| {' | '.join([TITLES[name], *cells])} |\n")
    return "".join(rows)


def main() -> int:
    rows = table()
    print(rows, end="")
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    counted = f"{before}{BEGIN}{rows}{END}{after}"
    if counted == page:
        return 0
    if "--write" in sys.argv[1:]:
        PAGE.write_text(counted)
        return 0
    print(f"{PAGE.relative_to(ROOT)} has another table; --write puts this there", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
