"""What is public says that it is `aionursery`'s, wherever a program meets its name."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
import types

import pytest

import aionursery
from aionursery import BaseMultiError, Cancelled, MultiError, NurseryClosed

PUBLIC = {
    name: getattr(aionursery, name)
    for name in [*aionursery.__all__, "map"]
    if not isinstance(getattr(aionursery, name), types.ModuleType)
}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_says_that_it_is_the_packages(name):
    public = PUBLIC[name]
    module = getattr(public, "__module__", None) or type(public).__module__
    assert module == "aionursery"


@pytest.mark.parametrize("name", [name for name in PUBLIC if callable(PUBLIC[name])])
def test_a_public_name_is_pickled_by_reference(name):
    if name == "eager_task_factory":
        pytest.skip("an object of a private class, not a function")
    assert pickle.loads(pickle.dumps(PUBLIC[name])) is PUBLIC[name]


def test_what_a_nursery_raises_is_pickled_with_its_class_and_names():
    group = MultiError([ValueError("one"), MultiError([KeyError("two")])])
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(group, protocol))
        assert type(copy) is MultiError
        assert repr(copy) == repr(group)
    assert type(pickle.loads(pickle.dumps(BaseMultiError([KeyboardInterrupt()])))) is BaseMultiError
    cancelled = pickle.loads(pickle.dumps(Cancelled("why", "failure")))
    assert type(cancelled) is Cancelled
    assert type(pickle.loads(pickle.dumps(NurseryClosed("closed")))) is NurseryClosed


@pytest.mark.parametrize("name", [name for name in PUBLIC if isinstance(PUBLIC[name], type)])
def test_what_cpython_says_of_a_public_class_names_no_private_module(name):
    with pytest.raises(AttributeError) as caught:
        PUBLIC[name].is_not_there  # noqa: B018
    assert "_aionursery" not in str(caught.value)


def test_a_traceback_names_the_package_and_no_private_module():
    program = (
        "import aionursery\n"
        "async def fail(): raise ValueError('boom')\n"
        "async def main():\n"
        "    async with aionursery.Nursery() as nursery: nursery.start_soon(fail)\n"
        "aionursery.run(main())\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "aionursery.MultiError: unhandled errors in a nursery (1 sub-exception)" in done.stderr
    assert "aionursery._errors.MultiError" not in done.stderr


@pytest.mark.parametrize("name", [name for name in PUBLIC if not isinstance(PUBLIC[name], int)])
def test_a_public_name_has_a_docstring(name):
    assert inspect.getdoc(PUBLIC[name])
