"""The report as one page: what is in it, what is escaped, and what is said where something was not given."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from tests.unit.report.conftest import users_of_an_experiment

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.experiments import Metric, analyze
from recsmith.experiment.folder import RunFolder
from recsmith.plots.models import leaderboard
from recsmith.report import write_report
from recsmith.report.html import tag
from recsmith.report.pictures import Pictures, svg

pytest.importorskip("matplotlib")


class Outline(HTMLParser):
    """Tags, headings, ids and what is open at the end."""

    VOID = frozenset({"meta", "path", "use", "image", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.headings: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def full(runs, audit_folder, ab_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(runs, out, audit=audit_folder, ab=ab_file, maps=())


@pytest.fixture(scope="module")
def text(full):
    return full.page.read_text(encoding="utf-8")


def test_every_part_is_there(full, text):
    outline = Outline(text)
    assert outline.open == []
    assert outline.headings[0] == "Recommenders on log"
    assert outline.headings[1:] == list(full.sections)
    for wanted in ("Models", "The log and the split", "Cold start", "Fairness", "Robustness", "Examples",
                   "Experiment with users", "Leakage and limits"):  # fmt: skip
        assert wanted in full.sections
    names = {path.name for path in full.pictures}
    assert {"leaderboard.png", "time.png", "variety.png", "heat-map.png", "long-tail.png", "over-time.png", "week.png",
            "split.png", "cold-start.png", "users-by-kind.png", "learning-curve.png", "lift.png"} <= names  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in full.pictures)
    assert full.size == full.page.stat().st_size
    assert full.as_dict()["sections"] == list(full.sections)


def test_each_picture_says_what_it_shows(full, text):
    pictures = [attributes for tag, attributes in Outline(text).attributes if tag == "svg"]
    assert len(pictures) == len(full.pictures)
    assert all(one["role"] == "img" and len(one["aria-label"]) > 30 for one in pictures)


def test_ids_are_unique_and_links_lead_somewhere(text):
    attributes = [found for _, found in Outline(text).attributes]
    ids = [one["id"] for one in attributes if "id" in one]
    assert len(ids) == len(set(ids))
    targets = [
        one[key][1:]
        for one in attributes
        for key in ("href", "xlink:href")
        if one.get(key, "").startswith("#")
    ]
    assert targets
    assert set(targets) <= set(ids)


def test_ids_titles_and_names_are_text_and_never_code(text):
    outline = Outline(text)
    assert "script" not in outline.tags
    assert "img" not in outline.tags
    assert not {"b", "i", "s", "u"} & set(outline.tags)
    assert not [key for _, found in outline.attributes for key in found if key.startswith("on")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "$x_1$" in text


def test_who_is_best_without_evidence_is_not_one_model(text):
    assert "told 0: all models alike (where a model has no evidence its fallback answers)" in text


def test_columns_without_a_value_are_left_out(undrawn, runs, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(runs[0], run)
    environment = json.loads((run / "environment.json").read_text())
    for git, shown in ((None, False), ({"commit": "0123456789abcdef", "dirty": False}, True)):
        (run / "environment.json").write_text(json.dumps(environment | {"git": git}))
        page = write_report([run], tmp_path / "r.html", maps=()).page.read_text("utf-8")
        assert (">commit<" in page) is shown and (">0123456789<" in page) is shown


def test_the_page_asks_nobody(text):
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert all(
        address.startswith("http://www.w3.org/") for address in addresses
    )  # names of XML, not addresses
    assert "default-src 'none'" in text
    assert "script-src" not in text


def test_all_colours_follow_the_reader(text):
    body = text[text.index("<main>") :]
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", body)


def test_tables_are_tables(text):
    outline = Outline(text)
    assert outline.tags.count("caption") == outline.tags.count("table") > 8
    assert "th" in outline.tags
    assert {found.get("scope") for tag, found in outline.attributes if tag == "th"} == {"col", "row"}


def test_the_figures_are_those_of_the_runs(runs, text):
    for run in runs:
        means = json.loads((run / "report.json").read_text())["means"]
        assert f"{means['ndcg@10']:.4f} (" in text


def test_the_leakage_check_and_the_limits_are_in_it(runs, text):
    for line in json.loads((runs[0] / "report.json").read_text())["leakage"]:
        assert line in text
    assert "What the numbers do not say" in text
    assert "an A/B test says that" in text


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are made and named, and not drawn: that takes most of the time."""

    def show(self, name, figure, alt, caption=""):
        self.png[f"{name}.png"] = b"\x89PNG"
        return tag("figure", tag("svg", role="img", aria_label=alt), tag("figcaption", caption))

    monkeypatch.setattr(Pictures, "show", show)


def test_one_run_alone_says_how_to_get_the_rest(undrawn, runs, tmp_path):
    done = write_report(runs[1:2], tmp_path / "new" / "one.html", maps=())
    text = done.page.read_text(encoding="utf-8")
    assert "recsmith audit --data LOG --out FOLDER" in text
    assert "recsmith ab analyze" in text
    assert "--maps tsne,umap" in text
    assert "Cold start" not in done.sections
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["one.html", "one_pictures"]


def test_runs_on_another_split_stand_apart(undrawn, runs, make_run, tmp_path):
    other = make_run("popular", "later", split="global-time:0.2")
    done = write_report([*runs, other], tmp_path / "r.html", maps=())
    text = done.page.read_text(encoding="utf-8")
    assert "Runs that answered other questions" in text
    assert "later answered other questions and stand apart" in text
    label = next(f["aria-label"] for tag, f in Outline(text).attributes if tag == "svg")
    assert "ease" in label
    assert "later" not in label


def test_a_log_that_is_gone_leaves_the_train_part(undrawn, log_files, make_run, tmp_path):
    moved = tmp_path / "moved.csv"
    shutil.copy(log_files / "log.csv", moved)
    run = make_run("popular", "gone", data={"source": str(moved)})
    with moved.open("a") as file:
        file.write("u00,i01,3,1700000000\n")
    done = write_report([run], tmp_path / "changed.html", maps=())
    assert "has changed since the run" in done.page.read_text(encoding="utf-8")
    moved.unlink()
    done = write_report([run], tmp_path / "gone.html", maps=())
    text = done.page.read_text(encoding="utf-8")
    assert "could not be read again" in text
    assert "heat-map.png" in {path.name for path in done.pictures}
    assert "split.png" not in {path.name for path in done.pictures}


def test_a_log_without_times_and_a_model_of_ratings(undrawn, log_files, make_run, tmp_path):
    import polars as pl

    pl.read_csv(log_files / "log.csv").drop("timestamp").write_csv(tmp_path / "plain.csv")
    data = {"source": str(tmp_path / "plain.csv")}
    done = write_report([make_run("popular", "untimed", data=data)], tmp_path / "a.html", maps=())
    names = {path.name for path in done.pictures}
    assert "split.png" in names
    assert not {"over-time.png", "week.png"} & names
    ratings = make_run("rating-baseline", "stars")
    done = write_report([ratings], tmp_path / "b.html", maps=("tsne",))
    text = done.page.read_text(encoding="utf-8")
    assert "predict ratings and make no lists" in text
    assert "rmse" in text
    assert "none of the runs has item vectors" in text


def test_maps_are_of_the_best_model_that_has_vectors(undrawn, runs, tmp_path):
    pytest.importorskip("sklearn")
    done = write_report(runs, tmp_path / "r.html", maps=("tsne",))
    text = done.page.read_text(encoding="utf-8")
    assert "t-SNE map of the most popular items by the vectors of ials" in text
    assert "map-tsne.png" in {path.name for path in done.pictures}


def test_a_broken_sample_ratio_is_said_first(undrawn, runs, tmp_path):
    found = analyze(users_of_an_experiment((0.4, 0.6)), [Metric(column="clicks")], control="control")
    (tmp_path / "ab.json").write_text(json.dumps(found.as_dict()))
    text = write_report(runs[:1], tmp_path / "r.html", ab=tmp_path / "ab.json", maps=()).page.read_text(
        "utf-8"
    )
    assert "cannot be trusted: its sample ratio is broken" in text
    assert 'class="warning"' in text


def test_an_older_report_is_replaced_and_nothing_else_is(undrawn, runs, tmp_path):
    out = tmp_path / "r.html"
    write_report(runs, out, maps=())
    before = {path.name for path in (tmp_path / "r_pictures").iterdir()}
    write_report(runs[:1], out, maps=(), metric="recall@5")
    assert {path.name for path in (tmp_path / "r_pictures").iterdir()} <= before
    (tmp_path / "r_pictures" / "mine.txt").write_text("keep me")
    with pytest.raises(ParameterError, match="holds something else than pictures"):
        write_report(runs, out, maps=())
    assert (tmp_path / "r_pictures" / "mine.txt").read_text() == "keep me"


def test_the_same_input_gives_the_same_page(undrawn, runs, tmp_path):
    pages = [write_report(runs[:1], tmp_path / f"{n}.html", maps=()).page.read_bytes() for n in range(2)]
    assert pages[0] == pages[1]


def test_the_same_figure_gives_the_same_svg(runs):
    report = RunFolder(runs[0]).read_report()
    drawn = [svg(leaderboard([report], "ndcg@10"), "board", "alt") for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert 'aria-label="alt"' in drawn[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("cold_start"), "lacks cold_start"),
        (lambda d: d.update(version=9), "its version is 9"),
        (lambda d: d["cold_start"].pop("rows"), "The audit cannot be shown: KeyError: 'rows'"),
        (
            lambda d: [row.pop("users") for one in d["fairness"]["users"] for row in one["rows"]],
            "KeyError: 'users'",
        ),
        (lambda d: d.update(reports=[]), "The audit cannot be shown"),
    ],
)
def test_an_audit_that_lacks_a_part_is_refused(undrawn, runs, audit_folder, tmp_path, change, words):
    found = json.loads((audit_folder / "audit.json").read_text())
    change(found)
    (tmp_path / "audit.json").write_text(json.dumps(found))
    with pytest.raises(DataError, match=re.escape(words)):
        write_report(runs[:1], tmp_path / "r.html", audit=tmp_path, maps=())
    assert not (tmp_path / "r.html").exists()


def test_an_audit_of_another_split_is_told(undrawn, make_run, audit_folder, tmp_path):
    run = make_run("popular", "last", split="leave-last-out")
    text = write_report([run], tmp_path / "r.html", audit=audit_folder, maps=()).page.read_text("utf-8")
    assert "made on another split than the runs" in text


def short(text):
    """The first section."""
    return text[text.index('<section id="in-short"') : text.index('<section id="models"')]


def test_an_audit_of_another_log_is_told_and_not_in_short(
    undrawn, runs, make_run, audit_folder, log_files, tmp_path
):
    lines = (log_files / "log.csv").read_text().splitlines()
    (tmp_path / "other.csv").write_text("\n".join(lines[:-40]))
    run = make_run("popular", "elsewhere", data={"source": str(tmp_path / "other.csv")})
    text = write_report([run], tmp_path / "r.html", audit=audit_folder, maps=()).page.read_text("utf-8")
    words = "The audit is of another log: log (80 users, 28 items, 720 events), the runs are of other."
    assert words in short(text)
    assert text.count(words) == 4
    assert "Best for users unknown to train" not in text
    text = write_report(runs[:1], tmp_path / "s.html", audit=audit_folder, maps=()).page.read_text("utf-8")
    assert "another log" not in text and "Best for users unknown to train" in short(text)
    older = json.loads((audit_folder / "audit.json").read_text())
    del older["log"]  # one that does not say of which log it is
    (tmp_path / "audit.json").write_text(json.dumps(older))
    text = write_report([run], tmp_path / "t.html", audit=tmp_path, maps=()).page.read_text("utf-8")
    assert "made on another split than the runs" in text


def test_models_that_were_not_fitted_again_are_named(undrawn, runs, audit_folder, tmp_path):
    found = json.loads((audit_folder / "audit.json").read_text())
    found["robustness"]["stability"]["left_out"] = ["slim"]
    (tmp_path / "audit.json").write_text(json.dumps(found))
    text = write_report(runs[:1], tmp_path / "r.html", audit=tmp_path, maps=()).page.read_text("utf-8")
    assert "Only the best 2 of 3 models" in text and "Left out: slim." in text
