"""The programs in the README and the docs: every block marked `python`.

    python tools/doc_programs.py FOLDER     write each into a file of its own, for the type checkers

The tests run them. A block may be shown with what it prints: a block marked `text` right after it,
after a line "It prints:". Must never change a page.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\nIt prints:\n\n```text\n(?P<out>.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    name: str
    code: str
    output: str | None


def blocks() -> list[Block]:
    """Return every program of every page, named by page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            name = f"{page.relative_to(ROOT).as_posix()}:{line}"
            found.append(Block(name, match["code"], match["out"]))
    return found


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.py"):
        old.unlink()
    programs = blocks()
    for block in programs:
        # A module has no name with a dash or a dot in it.
        path = folder / (re.sub(r"\W", "_", block.name.replace(".md", "")) + ".py")
        path.write_text(block.code, encoding="utf-8")
    print(f"{len(programs)} programs of the docs")
    return 0 if programs else 1


if __name__ == "__main__":
    sys.exit(main())
