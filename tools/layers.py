"""Checks that the files of a crate use each other in one direction, as tools/layers.toml has it.

    python tools/layers.py [FOLDER]     FOLDER: another root than this repository, for tests

A crate's top-level modules are its layers, lowest first. A file may use its own layer and lower
ones; an arrow upward must stand in the crate's list `upward`, and what stands there must exist. No
more files may stand in circles than `in_circles` says, and no fewer. Ends with 1 if one of this is
not so. It must never run a compiler: what it knows of Rust are paths, by `use` or in place. So it
does not see which file has a method.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

Module = tuple[str, ...]

USE = re.compile(r"^[ \t]*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", re.MULTILINE)
PATH = re.compile(r"(?<![\w:])(?:crate|super|self)(?:::\w+)+")
IGNORED = re.compile(r'//[^\n]*|r#"(?:.|\n)*?"#|"(?:\\.|[^"\\])*"|#\[cfg\(test\)\]\s*mod (?:.|\n)*')


class Source:
    """One file: the module that it is, and the paths that it uses."""

    def __init__(self, file: Path, root: Path) -> None:
        self.name = file.relative_to(root).as_posix()
        parts = file.relative_to(root).with_suffix("").parts
        self.module: Module = parts[:-1] if parts[-1] in ("mod", "lib") else parts
        # A string may hold anything, but not a path.
        text = IGNORED.sub(lambda it: "" if it[0][0] in "/#" else '""', file.read_text())
        self.code = USE.sub("", text)
        # What `*` brings in is not to be told without a compiler, but for `super::*`: that is used.
        globs = re.findall(r"(?:crate|super|self)[\w:]*::\*", text)
        self.takes_parent = "super::*" in globs
        self.globs = [glob for glob in globs if glob != "super::*"]
        uses = [(bool(pub), *one) for pub, tree in USE.findall(text) for one in branches(tree)]
        self.imports = {alias: self.absolute(path) for _, path, alias in uses}
        # What is only handed on is nothing that this file uses.
        self.paths = [
            self.absolute(path)
            for public, path, alias in uses
            if alias != "*" and (not public or re.search(rf"(?<![:.\w]){alias}\b", self.code))
        ]
        self.paths += [self.absolute(tuple(it[0].split("::"))) for it in PATH.finditer(self.code)]

    def absolute(self, path: Module) -> Module:
        if path[0] == "crate":
            return path[1:]
        at = self.module
        while path and path[0] in ("self", "super"):
            at = at[:-1] if path[0] == "super" else at
            path = path[1:]
        return at + path


def branches(tree: str) -> list[tuple[Module, str]]:
    """The paths in `a::{b, c as d}`, each with the name that it has in the file."""
    head, brace, rest = re.sub(r"\s+", " ", tree.strip()).partition("{")
    start = tuple(part.strip() for part in head.split("::") if part.strip())
    if not brace:
        path, _, alias = head.partition(" as ")
        names = tuple(part.strip() for part in path.split("::") if part.strip())
        return [(names, alias.strip() or names[-1])]
    items, depth, item = [], 0, ""
    for character in rest[: rest.rindex("}")]:
        depth += (character == "{") - (character == "}")
        if character == "," and not depth:
            items.append(item)
            item = ""
        else:
            item += character
    found = [one for item in [*items, item] if item.strip() for one in branches(item)]
    return [
        (start, start[-1]) if path == ("self",) else (start + path, alias) for path, alias in found
    ]


class Crate:
    """The files of one crate, and which uses which."""

    def __init__(self, root: Path) -> None:
        sources = [Source(file, root) for file in sorted(root.rglob("*.rs"))]
        self.sources = {source.module: source for source in sources}
        self.arrows = {source.name: self.used_by(source) - {source.name} for source in sources}
        self.layers = {source.name: (*source.module, "lib")[0] for source in sources}

    def resolve(self, path: Module, depth: int = 9) -> tuple[str | None, Module]:
        """The file where a path ends, past what is only handed on; and the path, if a module's."""
        known = next((n for n in range(len(path), 0, -1) if path[:n] in self.sources), 0)
        source = self.sources.get(path[:known])
        if source is None or not known:
            return None, ()
        if known == len(path):
            return source.name, path
        target = source.imports.get(path[known])
        if target and target != path and depth:
            found = self.resolve(target + path[known + 1 :], depth - 1)
            return found if found[0] else (source.name, ())
        return source.name, ()

    def used_by(self, source: Source) -> set[str]:
        found: set[str | None] = set()
        if source.takes_parent:
            found.add(self.sources[source.module[:-1]].name)
        # Modules by the name that they have in the file; its own children need no import.
        modules = {path[-1]: path for path in self.sources if path and path[:-1] == source.module}
        for path in source.paths:
            file, module = self.resolve(path)
            if module:
                modules[path[-1]] = module
            else:
                found.add(file)
        for alias, path in source.imports.items():
            if path in self.sources:
                modules[alias] = path
        for alias, module in modules.items():
            names = re.findall(rf"(?<![\w:]){alias}::(\w+)", source.code)
            found |= {self.resolve((*module, name))[0] for name in names}
        return {file for file in found if file}

    def circles(self) -> list[set[str]]:
        """Files that reach each other, the largest circle first."""
        reach = {file: self.reached(file) for file in self.arrows}
        found = {frozenset(o for o in reach[f] if f in reach[o]) for f in reach}
        return sorted((set(c) for c in found if len(c) > 1), key=len, reverse=True)

    def reached(self, start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for file in self.arrows[todo.pop()] - seen:
                seen.add(file)
                todo.append(file)
        return seen


def check(root: Path, layers: list[str], upward: list[str], in_circles: int) -> list[str]:
    """What is wrong with a crate, in words."""
    crate = Crate(root)
    tops = {layer for file, layer in crate.layers.items() if file != "lib.rs"}
    wrong = [f"no layer is named for {name}" for name in sorted(tops - set(layers))]
    wrong += [f"the layer {name} is nowhere" for name in sorted(set(layers) - tops)]
    if wrong:
        return wrong
    height = {layer: place for place, layer in enumerate([*layers, "lib"])}
    wrong += [
        f"{source.name} hides what it uses: {glob}"
        for source in crate.sources.values()
        for glob in source.globs
    ]
    found = sorted(
        f"{file} -> {used}"
        for file, arrows in crate.arrows.items()
        for used in arrows
        if height[crate.layers[used]] > height[crate.layers[file]]
    )
    wrong += [f"upward: {arrow}" for arrow in found if arrow not in upward]
    wrong += [f"allowed, but not there: {arrow}" for arrow in upward if arrow not in found]
    circles = crate.circles()
    count = sum(map(len, circles))
    if count != in_circles:
        wrong.append(f"{count} files stand in circles, and in_circles says {in_circles}")
        wrong += ["a circle: " + ", ".join(sorted(circle)) for circle in circles]
    return wrong


def main(folder: Path) -> int:
    crates = tomllib.loads((folder / "tools/layers.toml").read_text())
    wrong = [
        f"{root}: {text}"
        for root, rules in crates.items()
        for text in check(folder / root, **rules)
    ]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent.parent))
