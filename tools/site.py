"""Prepares the docs for the site: `make docs` runs it, then mkdocs.

    python tools/site.py FOLDER

The pages are those of `docs/`; the front page is the README, the changes are the CHANGELOG, and the
page on the API is made of the stubs and the sources. A link that leads out of `docs/` becomes one
into the repository, and the whole address of a page, as the README has it for PyPI, a link to that
page of the site. Must never change a page where it lies.
"""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import aionursery

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = "https://github.com/aionursery/aionursery"
LINK = re.compile(
    rf"(\]\()({REPOSITORY}/(?:blob|tree)/main/)?(?!https?:|#|mailto:)([^)#\s]+)((?:#[^)]*)?\))"
)
#: Code, in which nothing is a link.
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
#: Pages that the site has under another name.
MOVED = {"README.md": "index.md", "CHANGELOG.md": "changes.md"}


def place_of(path: Path) -> str | None:
    """Where a file of the repository is on the site; None if it is not there."""
    name = path.relative_to(ROOT).as_posix()
    if name in MOVED:
        return MOVED[name]
    return name.removeprefix("docs/") if name.startswith("docs/") and path.is_file() else None


def moved(text: str, page: Path, place: str) -> str:
    """Return a page's text with its links as they are on the site."""
    up = "../" * place.count("/")

    def link(match: re.Match[str]) -> str:
        target = ((ROOT if match[2] else page.parent) / match[3]).resolve()
        if not target.is_relative_to(ROOT) or not target.exists():
            raise SystemExit(f"{page.relative_to(ROOT)}: there is no {match[3]}")
        there = place_of(target)
        if there is None:
            kind = "tree" if target.is_dir() else "blob"
            there = f"{REPOSITORY}/{kind}/main/{target.relative_to(ROOT).as_posix()}"
            return f"{match[1]}{there}{match[4]}"
        return f"{match[1]}{up}{there}{match[4]}"

    parts = CODE.split(text)
    parts[::2] = [LINK.sub(link, part) for part in parts[::2]]
    # The text of a link may be code, so that its end stands alone in a part of its own.
    return "".join(parts)


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """A function's first line, without its body."""
    bare = type(node)(**{**vars(node), "body": [ast.Expr(ast.Constant(...))], "decorator_list": []})
    return ast.unparse(bare).replace(":\n    ...", "")


def modules() -> dict[str, list[ast.stmt]]:
    """The statements of each module of the package, of its stub where it has one."""
    found = {}
    for path in sorted((ROOT / "python/aionursery").glob("*.py*")):
        if path.suffix == ".pyi" or (path.suffix == ".py" and path.stem not in found):
            source = path.with_suffix(".pyi") if path.with_suffix(".pyi").exists() else path
            found[path.stem] = ast.parse(source.read_text(encoding="utf-8")).body
    return found


def members(node: ast.ClassDef) -> Iterator[str]:
    """The public methods and properties of a class, an overloaded one once for each way."""
    for member in node.body:
        if not isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if member.name.startswith("_"):
            continue
        marks = {ast.unparse(mark) for mark in member.decorator_list}
        if any(mark.endswith(".setter") for mark in marks):
            continue
        if "property" in marks:
            returns = ast.unparse(member.returns) if member.returns else "Any"
            yield f"**`{member.name}`**: `{returns}`"
        else:
            yield f"```py\n{signature(member)}\n```"
        if doc := ast.get_docstring(member):
            yield doc


def api() -> str:
    """The page on the API: every public name with its signature and its docstring."""
    statements = modules()
    parts = [
        "# API",
        "Every public name as the stubs have it. [Every name](reference.md) has the same in short.",
    ]
    for name in sorted([*aionursery.__all__, "map"], key=str.lower):
        public = getattr(aionursery, name)
        nodes = [
            node
            for body in statements.values()
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == name
        ]
        parts.append(f"## `{name}`")
        for node in nodes:
            if not isinstance(node, ast.ClassDef):
                parts.append(f"```py\n{signature(node)}\n```")
        if not (doc := inspect.getdoc(public)):
            raise SystemExit(f"{name} has no docstring")
        parts.append(doc)
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                parts += members(node)
    return "\n\n".join(parts) + "\n"


def main() -> int:
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    pages = sorted((ROOT / "docs").rglob("*.md"))
    for page in [*pages, *(ROOT / name for name in MOVED)]:
        place = place_of(page)
        assert place is not None
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        text = moved(page.read_text(encoding="utf-8"), page, place)
        (folder / place).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs/images", folder / "images")
    (folder / "api.md").write_text(api(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
