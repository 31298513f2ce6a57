"""The tiers of a run: tests say what they need, dear ones come last, and what was skipped is never silent."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

import tiers
from binaries import VERSITYGW, Module, NoBinaries, ensure
from s3server import S3Server

FOLDER = Path(__file__).parent
SHARED = ("kubernetes", "e2e")
"""Where all tests of a folder share something dear, a control plane or runs: one worker takes the folder."""


# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"tier(name): what the test needs to run, of {', '.join(tiers.TIERS)}")
    config.addinivalue_line("markers", "long: takes ten seconds or more, and is no gang's; workers begin with it early")


def _tiers_of(item: pytest.Item) -> list[str]:
    return [name for mark in item.iter_markers("tier") for name in mark.args]


class UnitScheduling(LoadScopeScheduling):
    """Not `--dist=loadgroup`: with xdist 3.8.0 and pytest 9.2.0 tests of one group were seen in both workers."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return file.rpartition("/")[0] if _folder(nodeid) in SHARED else file


def _folder(nodeid: str) -> str:
    return nodeid.split("/")[1]


def _is_long(item: pytest.Item) -> bool:
    """Gangs are."""
    return "preloaded" in getattr(item, "fixturenames", ()) or item.get_closest_marker("long") is not None


def _in_turn(items: list[pytest.Item]) -> list[pytest.Item]:
    """As workers take them: first what waits most, then files that are long, so that a run ends with what is small."""
    long = {item.path for item in items if _is_long(item)}

    def turn(item: pytest.Item) -> int:
        folder = _folder(item.nodeid)
        return SHARED.index(folder) if folder in SHARED else len(SHARED) + (item.path not in long)

    return sorted(items, key=turn)


@pytest.hookimpl(optionalhook=True)  # one process alone has no scheduler
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> UnitScheduling:
    return UnitScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if complaint := tiers.misplaced(item.nodeid, _tiers_of(item), fixtures):
            raise pytest.UsageError(complaint)
    items.sort(key=lambda item: tiers.rank(_tiers_of(item)))
    if hasattr(config, "workerinput"):
        items[:] = _in_turn(items)


# Outermost, so that its line comes after the summary of the terminal reporter.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    terminal = session.config.pluginmanager.getplugin("terminalreporter")
    if terminal is None:  # a worker: the process that started it gives the account
        yield
        return
    reports = terminal.stats.get("skipped", [])
    reasons = [report.longrepr[2].removeprefix("Skipped: ") for report in reports]
    if reasons and tiers.skips_fail(os.environ) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield
    print(tiers.skip_line(reasons))


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tells whoever waits in front of the run why it waits."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", flush=True)

    return tell


@pytest.fixture(scope="session")
def binaries(say: Callable[[str], None]) -> Callable[..., Path]:
    """Where a module's commands lie, waiting for their build; skips the test when they cannot be had."""

    def locate(module: Module, *commands: str) -> Path:
        try:
            return ensure(module, commands or module.commands, os.environ, say)
        except NoBinaries as reason:
            pytest.skip(str(reason))

    return locate


@pytest.fixture(scope="session")
def s3_server(binaries: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Tier *s3*: a real S3 server on loopback."""
    server = S3Server(binaries(VERSITYGW), tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def _bucket_numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def s3_bucket(s3_server: S3Server, _bucket_numbers: Iterator[int]) -> str:
    """Name of a fresh, empty bucket on `s3_server`."""
    name = f"bucket-{next(_bucket_numbers)}"
    s3_server.create_bucket(name)
    return name
