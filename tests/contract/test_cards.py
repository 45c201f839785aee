"""A trained model's card: its example is of the data, and the lines of Python in it run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tfnlp.runs import storage


@pytest.mark.slow
def test_what_a_card_says_to_type_works(run, monkeypatch):
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    saved = Path(metrics["saved_model"])
    text = (saved / "README.md").read_text("utf-8")
    asked = json.loads(re.search(r"^curl -d '(.*)' http", text, re.MULTILINE)[1])
    assert asked == {"instances": [metrics["example"]]}
    rows = Path(storage.load(run).experiment.data.train).read_text("utf-8").splitlines()
    assert metrics["example"]["text"] in [json.loads(row)["text"] for row in rows]

    loads, keras_loads = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    names = {}
    monkeypatch.chdir(saved)
    lines, _, call = loads.strip().rpartition("\n")
    exec(lines, names)
    answer = eval(call, names)
    assert answer["label"].numpy()[0] in answer["labels"].numpy()[0]
    monkeypatch.chdir(run)
    exec(keras_loads, names)
    kept = [weight.numpy() for weight in storage.load(Path()).network.weights]
    for weight, other in zip(names["network"].weights, kept, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_a_run_keeps_how_its_model_did_on_each_row(run):
    judged = json.loads((run / "judged.json").read_text("utf-8"))
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    held = metrics["test"] or metrics["validation"]
    assert judged["rows"] == len(judged["right"]) == len(judged["numbers"])
    assert judged["right"].count("1") / judged["rows"] == pytest.approx(held["accuracy"])
    drawn = judged["resampled"]["accuracy"]
    if 0 < held["accuracy"] < 1:
        ends = np.quantile(drawn, [0.025, 0.975])
        assert metrics["intervals"]["accuracy"] == pytest.approx(ends)
    assert len(drawn) == 200


def test_a_run_keeps_what_its_model_costs(run):
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    network = storage.load(run).network
    assert metrics["costs"]["parameters"] == network.count_params()  # all of them are trained
    assert metrics["set_aside"] == 0
    assert 0 < metrics["costs"]["latency"] < 10_000
    assert 0 < metrics["costs"]["seconds"] < 600
