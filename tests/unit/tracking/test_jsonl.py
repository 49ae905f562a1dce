"""JSON lines: one for each call, and each step once, also of a run that goes on."""

from __future__ import annotations

from recsmith.tracking.jsonl import METRICS, TABLES, JsonLines, read_lines


def steps(folder):
    return [
        (line["step"], next(name for name in line if name != "step")) for line in read_lines(folder / METRICS)
    ]


def test_each_call_is_a_line(tmp_path):
    tracker = JsonLines(tmp_path)
    tracker.metrics({"train/loss": 2.5, "train/rate": float("nan")}, 1)
    tracker.metrics({"test/ndcg@10": 0.25})
    tracker.table("samples", [{"item": "Amélie", "rank": 1}], 1)
    assert read_lines(tmp_path / METRICS) == [
        {"step": 1, "train/loss": 2.5, "train/rate": None},
        {"step": None, "test/ndcg@10": 0.25},
    ]
    assert read_lines(tmp_path / TABLES) == [
        {"step": 1, "table": "samples", "rows": [{"item": "Amélie", "rank": 1}]}
    ]


def test_what_comes_again_replaces_what_stood_there(tmp_path):
    first = JsonLines(tmp_path)
    for step in (1, 2, 3):
        first.metrics({"train/loss": 1.0 / step}, step)
    first.metrics({"refit/loss": 9.0}, 1)
    second = JsonLines(tmp_path)  # the state of epoch 2 had been saved, that of epoch 3 had not
    for step in (3, 4):
        second.metrics({"train/loss": 0.0}, step)
    assert steps(tmp_path) == [(1, "train/loss"), (2, "train/loss"), (3, "train/loss"), (4, "train/loss")]
    assert read_lines(tmp_path / METRICS)[2]["train/loss"] == 0.0
    third = JsonLines(tmp_path)
    third.metrics({"refit/loss": 8.0}, 1)  # another subject: the training stays
    assert len(steps(tmp_path)) == 5


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    (tmp_path / METRICS).write_text('{"step": 1, "train/loss": 1.0}\n{"step": 2, "trai')
    assert read_lines(tmp_path / METRICS) == [{"step": 1, "train/loss": 1.0}]
    JsonLines(tmp_path).metrics({"train/loss": 2.0}, 2)
    assert steps(tmp_path) == [(1, "train/loss"), (2, "train/loss")]
    assert read_lines(tmp_path / "none.jsonl") == []
