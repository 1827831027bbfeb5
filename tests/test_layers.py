"""tools/layers.py, which keeps the files of a crate in layers, finds what it is there to find."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parent.parent / "tools/layers.py"
_spec = importlib.util.spec_from_file_location("layers", TOOL)
layers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(layers)


@pytest.fixture
def check(tmp_path):
    def check(files, order, upward=(), in_circles=0):
        for name, text in {"lib.rs": "mod low; mod high;", **files}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        return layers.check(tmp_path, order, list(upward), in_circles)

    return check


def test_arrows_down_and_within_a_layer_are_right(check):
    files = {"low.rs": "pub fn f() {}", "high/mod.rs": "", "high/a.rs": "use crate::low::f;"}
    files["high/b.rs"] = "use super::a::g;\nuse crate::low;\nfn h() { low::f() }"
    assert check(files, ["low", "high"]) == []


@pytest.mark.parametrize(
    "text",
    [
        "use crate::high::f;",
        "use crate::{high, low};\nfn g() { high::f() }",
        "use super::high::{self as top, f};",
        "use std::{cell::Cell, fmt};\nuse crate::{\n    high::{f, g},\n};",
        "fn g() { crate::high::f() }",
        "fn g() { super::high::f() }",
        "pub use crate::high::f;\nfn g() { f() }",
    ],
)
def test_an_arrow_upward_is_found_however_it_is_written(check, text):
    files = {"low.rs": text, "high.rs": "pub fn f() {}"}
    assert check(files, ["low", "high"]) == ["upward: low.rs -> high.rs"]
    assert check(files, ["low", "high"], ["low.rs -> high.rs"]) == []


@pytest.mark.parametrize(
    "text", ["// use crate::high::f;", 'const A: &str = "crate::high";', "use crate::lower::high;"]
)
def test_what_only_looks_like_an_arrow_is_none(check, text):
    assert check({"low.rs": text, "high.rs": ""}, ["low", "high"]) == []


def test_an_allowed_arrow_that_is_gone_is_named(check):
    wrong = check({"low.rs": "", "high.rs": ""}, ["low", "high"], ["low.rs -> high.rs"])
    assert wrong == ["allowed, but not there: low.rs -> high.rs"]


def test_an_arrow_leads_to_the_file_behind_what_is_handed_on(check):
    files = {"low.rs": "use crate::high;\nfn g() { high::f() }"}
    files |= {"high/mod.rs": "mod inner;\npub use inner::f;", "high/inner.rs": "pub fn f() {}"}
    assert check(files, ["low", "high"]) == ["upward: low.rs -> high/inner.rs"]


def test_a_circle_inside_a_layer_is_found_and_counted(check):
    files = {"low.rs": "", "high/mod.rs": "mod a;\nmod b;"}
    files |= {"high/a.rs": "use super::b;\nfn f() { b::g() }", "high/b.rs": "use super::a::f;"}
    wrong = check(files, ["low", "high"])
    assert wrong == [
        "2 files stand in circles, and in_circles says 0",
        "a circle: high/a.rs, high/b.rs",
    ]
    assert check(files, ["low", "high"], in_circles=2) == []
    # A circle that was broken must leave the list, too.
    assert check(files | {"high/b.rs": ""}, ["low", "high"], in_circles=2) != []


def test_every_module_has_its_layer_and_every_layer_is_a_module(check):
    files = {"low.rs": "", "high.rs": "", "new.rs": ""}
    assert check(files, ["low", "high", "old"]) == [
        "no layer is named for new",
        "the layer old is nowhere",
    ]


def test_a_glob_is_refused_since_it_hides_what_it_brings(check):
    files = {"low.rs": "use std::io::*;\nuse crate::high::*;", "high.rs": ""}
    assert check(files, ["low", "high"]) == ["low.rs hides what it uses: crate::high::*"]


def test_the_tool_fails_with_the_words_on_its_output(tmp_path, capsys):
    (tmp_path / "tools").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src/lib.rs").write_text("mod low;\nmod high;")
    (tmp_path / "src/low.rs").write_text("use crate::high::f;")
    (tmp_path / "src/high.rs").write_text("pub fn f() {}")
    rules = '[src]\nlayers = ["low", "high"]\nupward = []\nin_circles = 0\n'
    (tmp_path / "tools/layers.toml").write_text(rules)
    assert layers.main(tmp_path) == 1
    assert capsys.readouterr().out == "src: upward: low.rs -> high.rs\n"
    (tmp_path / "src/low.rs").write_text("")
    assert layers.main(tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_this_repository_keeps_its_layers(capsys):
    assert layers.main(TOOL.parent.parent) == 0, capsys.readouterr().out
