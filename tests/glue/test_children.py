"""The supervisor's children: waited for, stopped in reverse order, killed when they do not stop."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from glue.children import Child, ChildEnded, Children, StopRequested
from glue.stop import Stop


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def children(stop: Stop) -> Iterator[Children]:
    children = Children(stop)
    yield children
    children.stop()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def start(children: Children, log: Path, name: str, manner: str = "obedient") -> Child:
    child = children.start(name, "tests.child", name, manner, str(log), answers=True, grace=0.3)
    if manner != "brief":
        assert children.wait_for_answer(child) == {"name": name}
    return child


def test_stop_in_reverse_order(children, log):
    started = [start(children, log, name) for name in ("first", "second", "third")]
    children.stop()

    assert log.read_text().split() == ["third", "second", "first"]
    assert [child.process.returncode for child in started] == [0, 0, 0]


def test_are_killed_when_they_do_not_stop(children, log, capfd):
    stubborn = start(children, log, "mule", "stubborn")
    children.stop()

    assert log.read_text().split() == ["mule"]
    assert stubborn.ending() == "killed by SIGKILL"
    assert "mule has not stopped" in capfd.readouterr().err


def test_one_that_ends_is_named_with_its_exit_code(children, log):
    start(children, log, "other")
    start(children, log, "mayfly", "brief")

    with pytest.raises(ChildEnded, match=r"mayfly has ended \(exit code 7\)"):
        children.wait()


def test_waiting_ends_when_told_to_stop(children, log, stop):
    start(children, log, "first")
    threading.Timer(0.1, stop.set).start()

    with pytest.raises(StopRequested):
        children.wait()


def test_what_they_write_goes_through(children, log, capfd):
    start(children, log, "first")
    children.stop()

    assert capfd.readouterr().out == "first goes on\n"
