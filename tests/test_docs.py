"""Every block marked `python` in the README and the docs is a program, and it runs.

A block may be shown with what it prints: a block marked `text` right after it must be its output.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest
from tools.doc_programs import PAGES, ROOT, blocks
from tools.site import REPOSITORY

import aionursery

IMPORT = re.compile(r"^(?:import|from) (\w+)", re.MULTILINE)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
#: A link to a file: from the page, or by the whole address of one in the repository.
LINK = re.compile(rf"\]\(({REPOSITORY}/(?:blob|tree)/main/)?(?!https?:|#)([^)#]+)(?:#[^)]*)?\)")
#: Pages with links but without programs that run.
LINKING = [
    *(ROOT / name for name in ("CHANGELOG.md", "SECURITY.md", "changes/README.md")),
    *sorted(ROOT.glob("crates/*/README.md")),
]
#: Code in a line, where the reference has its names.
SPAN = re.compile(r"`[^`]+`")
#: No program of the docs takes longer than this many seconds, or it hangs.
PATIENCE = 30


def is_missing(module: str) -> bool:
    return importlib.util.find_spec(module) is None


@pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in blocks()])
def test_a_program_of_the_docs_runs_and_prints_what_the_page_says(block, tmp_path):
    missing = sorted(filter(is_missing, set(IMPORT.findall(block.code))))
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    program = tmp_path / "program.py"
    program.write_text(block.code)
    command = [sys.executable, "-W", "error", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    if block.output is not None:
        assert done.stdout == block.output


@pytest.mark.parametrize("page", [*PAGES, *LINKING], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_only_to_files_that_exist(page):
    links = LINK.findall(CODE.sub("code", page.read_text()))
    targets = [(ROOT if address else page.parent) / target for address, target in links]
    assert [target for target in targets if not target.exists()] == []


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted(ROOT.glob("crates/*/README.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_what_registries_show_links_by_whole_addresses(page):
    links = LINK.findall(CODE.sub("code", page.read_text()))
    assert [target for address, target in links if not address] == []


@pytest.mark.parametrize("name", [*aionursery.__all__, "map"])
def test_the_reference_has_every_public_name(name):
    assert name in named_in_the_reference()


def test_the_reference_has_every_name_for_anyio():
    face = pytest.importorskip("aionursery.anyio", exc_type=ImportError)
    assert set(face.__all__) <= named_in_the_reference()


def named_in_the_reference() -> set[str]:
    page = (ROOT / "docs" / "reference.md").read_text()
    return {word for code in SPAN.findall(page) for word in re.findall(r"(?<![\w.])\w+", code)}


def test_each_row_of_the_known_bugs_names_a_test_that_exists():
    page = (ROOT / "docs" / "known-bugs.md").read_text()
    tests = (ROOT / "tests" / "test_known_bugs.py").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) >= 11
    assert [name for name in named if f"def {name}(" not in tests] == []
