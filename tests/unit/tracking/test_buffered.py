"""A tracker that fails breaks nothing: its calls wait in a file, in order, and are sent when it answers."""

from __future__ import annotations

import pytest

from recsmith.tracking import buffered
from recsmith.tracking.buffered import Buffered
from recsmith.tracking.jsonl import read_lines
from recsmith.tracking.null import NullTracker


class Server(NullTracker):
    """Takes calls while it is up."""

    def __init__(self) -> None:
        self.up = True
        self.got: list[tuple] = []
        self.asked = 0
        self.hates = ""  #: a file that it never takes

    def open(self) -> Server:
        self._take("open")
        return self

    def metrics(self, values, step=None):
        print("a library that talks")
        self._take("metrics", dict(values), step)

    def table(self, name, rows, step=None):
        self._take("table", name, list(rows), step)

    def artifact(self, path):
        if path == self.hates:
            raise ValueError("no such kind of file")
        self._take("artifact", path)

    def close(self, *, failed=False):
        self._take("close", failed)

    def _take(self, *call):
        self.asked += 1
        if not self.up:
            raise ConnectionError("refused\nwith a long story")
        self.got.append(call)


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def said():
    return []


@pytest.fixture
def tracker(server, said, tmp_path):
    return Buffered("Server", server.open, tmp_path / "outbox.jsonl", said.append)


def test_while_it_answers_nothing_is_kept_and_nothing_said(tracker, server, said, capsys):
    tracker.metrics({"loss": 1.0}, 1)
    tracker.table("t", [{"a": 1}])
    tracker.close()
    assert server.got == [
        ("open",),
        ("metrics", {"loss": 1.0}, 1),
        ("table", "t", [{"a": 1}], None),
        ("close", False),
    ]
    assert not said
    assert not tracker.outbox.exists()
    assert capsys.readouterr().out == ""


def test_while_it_is_down_the_run_goes_on_and_it_is_said_once(tracker, server, said):
    server.up = False
    for step in range(5):
        tracker.metrics({"loss": 1.0}, step)
    assert server.asked == 1  # not at every call: each may take its time
    assert len(said) == 1
    assert "Server cannot be told of this run, which goes on: refused What" in said[0]
    assert [line["step"] for line in read_lines(tracker.outbox)] == [0, 1, 2, 3, 4]
    tracker.close()
    assert "6 calls wait in" in said[1]
    assert "--resume" in said[1]


def test_a_run_that_had_nothing_to_tell_is_not_told_of(tracker, server):
    tracker.close(failed=True)
    assert server.asked == 0


def test_it_is_back_at_the_end(tracker, server, said):
    tracker.metrics({"loss": 3.0}, 1)
    server.up = False
    tracker.metrics({"loss": 2.0}, 2)
    tracker.metrics({"loss": 1.0}, 3)
    server.up = True
    tracker.close()
    assert [call[-1] for call in server.got[1:]] == [1, 2, 3, False]
    assert said[-1] == "Server answers again and has got everything."
    assert not tracker.outbox.exists()


def test_it_is_tried_again_after_a_while(tracker, server, monkeypatch):
    server.up = False
    tracker.metrics({"loss": 2.0}, 1)
    server.up = True
    monkeypatch.setattr(buffered, "RETRY_SECONDS", 0.0)
    tracker.metrics({"loss": 1.0}, 2)
    assert [call[-1] for call in server.got[1:]] == [1, 2]


def test_another_process_sends_the_rest(tracker, server, said):
    server.up = False
    tracker.metrics({"loss": 2.0}, 1)
    tracker.close()
    server.up = True
    again = Buffered("Server", server.open, tracker.outbox, said.append)
    assert len(again.waiting) == 2
    again.send_rest()
    assert server.got == [("open",), ("metrics", {"loss": 2.0}, 1), ("close", False)]
    assert not tracker.outbox.exists()


def test_a_call_that_always_fails_does_not_hold_up_the_others(tracker, server):
    server.hates = "odd.bin"
    tracker.artifact("odd.bin")
    tracker.metrics({"loss": 1.0}, 1)
    tracker.close()
    assert [call[0] for call in server.got] == ["open", "metrics", "close"]
    assert [line["path"] for line in read_lines(tracker.outbox)] == ["odd.bin"]
