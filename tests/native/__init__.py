"""Builds the coroutines in native_coroutines.rs, and loads them."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
NAME = "native_coroutines"
#: What would reach the compiler from tools/sanitized.sh, or ask PyO3 for another interpreter.
NOT_FOR_CARGO = ("LD_PRELOAD", "ASAN_OPTIONS", "RUSTFLAGS", "RUSTC_BOOTSTRAP", "VIRTUAL_ENV")


def build() -> Path:
    """Build the module if it has changed, and return its path. Cargo lets one build at a time."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")) / "native"
    env = {name: value for name, value in os.environ.items() if name not in NOT_FOR_CARGO}
    # One build for all versions, so no interpreter is asked, and none is linked to.
    env |= {"PYO3_NO_PYTHON": "1", "PYO3_BUILD_EXTENSION_MODULE": "1"}
    done = subprocess.run(
        [
            *("cargo", "build", "--release", "--locked", "--quiet", "--message-format=json"),
            *("--manifest-path", str(HERE / "Cargo.toml"), "--target-dir", str(target)),
        ],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == NAME:
            return Path(message["filenames"][0])
    raise RuntimeError("cargo has built something else")


def load() -> ModuleType:
    """Build and import the module."""
    path = build()
    loader = importlib.machinery.ExtensionFileLoader(NAME, str(path))
    spec = importlib.util.spec_from_file_location(NAME, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules[NAME] = module
    return module
