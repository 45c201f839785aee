"""Every audit keeps its promises; calibration is what is computed by hand."""

from __future__ import annotations

import csv
import dataclasses
import json
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from pipelines.columns import Column
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import audit, extensions
from tfnlp.api import auditing
from tfnlp.cli.arguments import Plugged
from tfnlp.evaluation import intervals
from tfnlp.evaluation.calibration import expected_calibration_error
from tfnlp.extensions import Audit, UnsuitableError
from tfnlp.report import Report
from tfnlp.runs import subject as subjects

NAMES = extensions.names(Audit)
OPTIONS = {"faithfulness": {"by": ("occlusion",), "rows": 8}}
TEXT = Column("text", "text", "")


def rows_of(texts, targets, name="label"):
    return Rows("here", {"text": texts, name: targets}, list(range(1, len(texts) + 1)))


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_it_says_what_it_is(self, name):
        entry = extensions.load(Audit, name)
        assert entry.summary
        assert not entry.summary.endswith(".")
        assert all(field.metadata["help"] for field in dataclasses.fields(entry.options))

    def test_what_it_cannot_judge_it_refuses_in_a_sentence(self, name, word_models):
        entry = extensions.load(Audit, name)
        for kind in ("generated", "vector"):
            subject = subjects.load(str(word_models / kind))
            with pytest.raises(UnsuitableError) as caught:
                entry.examine(subject, rows_of(["a"], ["b"]), entry.options(), entry.bounds)
            assert "\n" not in str(caught.value)

    def test_a_run_and_its_saved_model_are_judged_alike(self, name, run):
        entry = extensions.load(Audit, name)
        texts = ["red apple", "blue sea", "green leaf 好 👍🏽", ""] * 5
        rows = rows_of(texts, ["fruit", "water", "water", "fruit"] * 5)
        saved = json.loads((run / "metrics.json").read_text())["saved_model"]
        options = entry.options(**OPTIONS.get(name, {}))
        ours, theirs = (
            entry.examine(subjects.load(str(place)), rows, options, entry.bounds)[0]
            for place in (run, saved)
        )
        # A SavedModel has no network: what needs one is left out.
        theirs = {found.name: found for found in theirs}
        for one, other in ((one, theirs[one.name]) for one in ours if one.name in theirs):
            assert one.value == pytest.approx(other.value, abs=1e-5)
            assert (one.name, one.n, one.bound) == (other.name, other.n, other.bound)
        assert set(entry.bounds) <= {finding.name for finding in ours}


def test_an_unknown_one_is_refused():
    with pytest.raises(UserError, match="did you mean 'calibration'"):
        extensions.load(Audit, "calibraton")


def examined(answers, rows, **options):
    entry = extensions.load(Audit, "calibration")
    held = dict(zip(rows.columns["text"], answers, strict=True))
    subject = SimpleNamespace(
        name="by hand", inputs=(TEXT,), answer=lambda texts: [held[t] for t in texts["text"]]
    )
    findings, report = entry.examine(subject, rows, entry.options(**options), entry.bounds)
    return {finding.name: finding for finding in findings}, report


def test_one_label_by_hand():
    def answer(score):
        return {"label": "a", "score": score, "scores": {"a": score, "b": 1 - score}}

    answers = [answer(0.9), answer(0.9), answer(0.9), answer(0.6)]
    rows = rows_of(list("1234"), ["a", "b", "b", "a"])
    found, report = examined(answers, rows, bins=5)
    # The bin from 0.8: three answers, one right, |1/3 - 0.9|; that from 0.6: one, |1 - 0.6|.
    assert found["ece"].value == pytest.approx(0.75 * (0.9 - 1 / 3) + 0.25 * 0.4)
    assert found["overconfidence"].value == pytest.approx(0.825 - 0.5)
    assert found["accuracy"].value == 0.5
    assert not found["ece"].passed
    assert found["accuracy"].bound is None
    assert report.tables[0].rows == [
        ("0.60 to 0.80", 1, "0.600", "1.000"),
        ("0.80 to 1.00", 3, "0.900", "0.333"),
    ]
    assert list(report.figures) == ["reliability"]


def test_a_grade_by_hand():
    answers = [{"grade": 2.0, "score": 0.7, "scores": {"1": 0.3, "2": 0.7}}]
    found, _ = examined(answers, rows_of(["x"], [2.0], "grade"))
    assert found["ece"].value == pytest.approx(0.3)


def test_several_labels_by_hand():
    answers = [{"scores": {"a": 0.9, "b": 0.2}, "given": [True, False], "label": "a"}]
    found, _ = examined(answers, rows_of(["x"], [["a", "unseen"]], "labels"))
    assert found["ece"].value == pytest.approx((0.1 + 0.2) / 2)
    assert found["overconfidence"].value == pytest.approx(0.55 - 0.5)
    assert (found["accuracy"].value, found["accuracy"].n) == (1.0, 1)


@pytest.mark.parametrize(("truth", "least"), [(0.0, 0.6), (0.2, 0.85)])
def test_the_interval_covers_the_truth(truth, least):
    """Of 100 samples; the percentile interval never covers an error of 0."""
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        sure = random.uniform(0.6, 1.0, 300)
        hit = random.random(300) < sure - truth
        ((low, high),) = intervals.bootstrap(
            lambda at, s=sure, h=hit: np.array([expected_calibration_error(s[at], h[at])]),
            300,
            100,
            bounds=(0.0, 1.0),
        )
        covered += low <= truth <= high
    assert covered >= 100 * least


# The command


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["said", "kind"])
        out.writerows([("a good <film>", "fine"), ("很好", "fine"), ("dull", "bad"), ("x", "bad")])
    return ["--test", "rows.csv", "--column", "text=said", "--label-column", "kind"]


def test_the_files_and_the_exit_status(word_models, rows, tmp_path, capsys):
    model = str(word_models / "label")
    assert audit.main([model, *rows, "--bound", "ece=0.5", "--output", "out"]) == 0
    assert audit.main([model, *rows, "--bound", "ece=0.05", "--output", "out"]) == 1
    assert "crossed" in capsys.readouterr().out
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert 'src="data:image/png;base64,' in page
    assert 'class="bad">crossed' in page
    assert not {"<script", "http://", "https://", "<film>"} & {
        p for p in ("<script", "http://", "https://", "<film>") if p in page
    }
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    # Scores of 0.8 and 0.9, all right.
    ece = next(finding for finding in report["findings"] if finding["name"] == "ece")
    assert (ece["bound"], ece["passed"], report["passed"]) == (0.05, False, False)
    assert ece["value"] == pytest.approx(0.15, abs=1e-6)
    suites = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()
    cases = suites.findall(".//testcase")
    assert [case.get("name") for case in cases] == [found["name"] for found in report["findings"]]
    failed = {case.get("name"): case.find("failure") is not None for case in cases}
    assert {name: failed[name] for name in ("ece", "overconfidence", "accuracy")} == {
        "ece": True,
        "overconfidence": False,
        "accuracy": False,
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "rows.csv"]


def test_a_floor_on_accuracy(word_models, rows):
    model = str(word_models / "label")
    given = [model, *rows, "--bound", "ece=1", "--output", "out", "--bound"]
    assert audit.main([*given, "accuracy=0"]) == 0
    assert audit.main([*given, "accuracy=1.1"]) == 1


def test_each_check_has_bounds_of_its_own():
    def check(name, **bounds):
        record = Audit("", object, lambda *_: ([], Report({})), bounds)
        return Plugged("audit", name, record)

    checks = [check("a", changed=0.1, ece=None), check("b", changed=0.3)]
    assert auditing.bounds_of(checks, {}) == {
        "a": {"changed": 0.1, "ece": None},
        "b": {"changed": 0.3},
    }
    found = auditing.bounds_of(checks, {"b.changed": "0.9", "changed": "0.2", "ece": "0.5"})
    assert found == {"a": {"changed": 0.2, "ece": 0.5}, "b": {"changed": 0.9}}


def test_mistakes(word_models, rows):
    model = str(word_models / "label")
    for more, said in (
        (["--bound", "ecce=0.1"], "did you mean 'ece'"),
        (["--bound", "ece=low"], "'low' is not a number"),
        (["--bound", "ece=nan"], "'nan' is not a number"),
        (["--bound", "bias.ece=1"], "has no bound 'bias.ece'"),
        (["--check", "calibratio"], "did you mean 'calibration'"),
        (["--output", "rows.csv"], "holds no report"),
        (["--column", "txt=said"], "did you mean 'text'"),
    ):
        with pytest.raises(UserError, match=said):
            audit.main([model, *rows, *more])
    with pytest.raises(UserError, match="no check suits this model"):
        audit.main([str(word_models / "vector"), *rows])
    with pytest.raises(UserError, match="give --test FILE"):
        audit.main([model])
