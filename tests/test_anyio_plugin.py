"""anyio's plugin of pytest, on the engine: its runner, and fixtures that live as long as a module.

anyio's own tests of it run in `conformance/test_anyio.py`.
"""

from __future__ import annotations

import pytest

pytest.importorskip("anyio")

pytest_plugins = "pytester"

CONFTEST = """
import asyncio
import aionursery, aionursery.anyio
import anyio
import pytest

aionursery.anyio.install()


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def is_ours():
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    assert isinstance(asyncio.current_task(), aionursery.Task)
    return loop
"""


def run(pytester, program, conftest=CONFTEST, **outcomes):
    pytest.importorskip("uvloop")
    pytester.makeconftest(conftest)
    pytester.makepyfile(f"import anyio\nimport pytest\n\nfrom conftest import is_ours\n{program}")
    arguments = ["-p", "no:cacheprovider", "-p", "no:asyncio", "-rA"]
    result = pytester.runpytest_subprocess(*arguments, timeout=60)
    result.assert_outcomes(**outcomes)
    return result


def test_tests_and_fixtures_run_in_tasks_of_the_engine(pytester):
    program = """
@pytest.fixture
async def value():
    yield is_ours()
    is_ours()


@pytest.fixture
async def returned(value):
    await anyio.sleep(0)
    return value


@pytest.mark.anyio
async def test_it(value, returned, anyio_backend):
    assert value == returned == is_ours()
    assert (value == "uvloop") == anyio_backend[1]["use_uvloop"]
"""
    run(pytester, program, passed=2)


def test_a_group_of_a_modules_fixture_lives_as_long_as_its_tests(pytester):
    program = """
made = []


@pytest.fixture(scope="module")
async def group(anyio_backend):
    async with anyio.create_task_group() as group:
        yield group
        group.cancel_scope.cancel()
    assert made == ["begun", "second", "cancelled"]
    made.clear()


async def child(told):
    made.append("begun")
    try:
        await told.wait()
        made.append("second")
        await anyio.sleep_forever()
    finally:
        made.append("cancelled")


@pytest.fixture(scope="module")
async def told(group):
    told = anyio.Event()
    group.start_soon(child, told)
    return told


@pytest.mark.anyio
async def test_first(group, told):
    await anyio.wait_all_tasks_blocked()
    assert made == ["begun"]


@pytest.mark.anyio
async def test_second(group, told):
    told.set()
    await anyio.wait_all_tasks_blocked()
    assert made == ["begun", "second"]
    assert not group.cancel_scope.cancel_called
"""
    run(pytester, program, passed=4)


def test_a_scope_in_a_fixture_is_around_its_own_code_and_not_the_tests(pytester):
    program = """
@pytest.fixture
async def within():
    with anyio.CancelScope() as scope:
        yield scope
        scope.cancel()
        await anyio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_it(within):
    assert not within.cancel_called
    with anyio.move_on_after(0) as inner:
        await anyio.sleep_forever()
    assert inner.cancelled_caught and not within.cancelled_caught
"""
    run(pytester, program, passed=2)


def test_a_child_that_fails_fails_the_test_whose_group_it_is_in(pytester):
    program = """
async def fail():
    raise ValueError("of a child")


@pytest.mark.anyio
async def test_fails():
    async with anyio.create_task_group() as group:
        group.start_soon(fail)


@pytest.mark.anyio
async def test_passes():
    await anyio.sleep(0)
"""
    result = run(pytester, program, failed=2, passed=2)
    result.stdout.fnmatch_lines(["*ExceptionGroup: unhandled errors in a TaskGroup*"])


@pytest.mark.parametrize("own", [False, True])
def test_a_modules_fixture_whose_child_fails_ends_as_on_anyios_own_backend(pytester, own):
    """The runner's task is cancelled, and the next that needs it finds it closed."""
    program = """
@pytest.fixture(scope="module")
async def group(anyio_backend):
    async with anyio.create_task_group() as group:
        yield group


async def fail():
    raise ValueError


@pytest.mark.anyio
async def test_it(group):
    group.start_soon(fail)
"""
    conftest = CONFTEST.replace("aionursery.anyio.install()", "") if own else CONFTEST
    result = run(pytester, program, conftest, passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ClosedResourceError*"])


def test_a_context_variable_of_a_modules_fixture_reaches_its_tests(pytester):
    program = """
from contextvars import ContextVar

variable = ContextVar("variable", default="unset")


@pytest.fixture(scope="module", autouse=True)
async def set_it(anyio_backend):
    token = variable.set("set")
    yield
    variable.reset(token)


@pytest.mark.anyio
async def test_it():
    assert variable.get() == "set"
    found = []

    async def look():
        found.append(variable.get())

    async with anyio.create_task_group() as group:
        group.start_soon(look)
    assert found == ["set"]
"""
    run(pytester, program, passed=2)
