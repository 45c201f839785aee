"""Every strategy trains, is kept, answers, and resumes exactly; found by discovery."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.errors import UserError
from tfnlp import extensions, task
from tfnlp.extensions import Strategy

HERE = Path(__file__).parent
# `supervised` is what all other tests train with; `gan` is for a task that writes: test_gan.py.
# Those for few labels, of which some take no steps: test_few_labels.py.
FEW_LABELS = {"linear_probe", "prompt", "self_training", "setfit", "uda", "zero_shot"}
ALL = sorted(set(extensions.names(Strategy)) - {"gan", "supervised"})
NAMES = [name for name in ALL if name not in FEW_LABELS]
# Those that take further files or runs are trained and killed by test_domains.py.
OF_DOMAINS = {"domain_adaptive", "domain_adversarial", "fusion", "mmd", "multi_task"}
TRAINED = [name for name in NAMES if name not in OF_DOMAINS]
# The fit and the batch of it at which the kill comes, if not the second epoch of the last fit.
KILLS = {"lp_ft": "head:3"}
# Those that go on from an earlier run.
CONTINUAL = {"averaging", "ewc", "lwf", "pseudo_rehearsal", "recadam", "replay"}
# These stand for the others, whose steps are like theirs.
FAST = ("distillation", "lwf")

pytestmark = pytest.mark.usefixtures("deterministic")


class Killed(BaseException):
    """Stands for kill -9: nothing in the code may catch it and save."""


@pytest.fixture(scope="session")
def options_of(run, tmp_path_factory):
    """Return a function from a strategy to the options that it is tried with."""
    texts = tmp_path_factory.mktemp("texts") / "more.jsonl"
    lines = [{"text": f"a {n} red {'leaf ' * n}"} for n in range(12)]
    texts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = yaml.safe_load((run / "experiment.yaml").read_text())["data"]["train"]
    own = {
        "ewc": {"rows": 8},
        "lwf": {"old": [rows], "rows": 3},
        "pseudo_rehearsal": {"unlabelled": str(texts)},
        "replay": {"old": [rows], "rows": 3},
        "distillation": {"teacher": [str(run)], "unlabelled": str(texts)},
        "vat": {"unlabelled": str(texts)},
    }

    def options(name, **more):
        names = extensions.load(Strategy, name).options.__dataclass_fields__
        return {**own.get(name, {}), **{k: v for k, v in more.items() if k in names}}

    return options


def _earlier(name, run):
    return {"earlier": {"start_from": str(run)}} if name in CONTINUAL else {}


def _made(strategy_run, folder, backbone, name, options, **sections):
    return strategy_run.experiment(
        folder, backbone, {"name": name, **options}, training={"epochs": 1}, **sections
    )


def _refused(strategy, *given):
    """Return the sentence by which a strategy refuses; empty if it does not."""
    try:
        strategy.fits(*given)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in FAST)) for n in TRAINED]
)
def test_it_trains_is_kept_and_answers(name, backbone, strategy_run, options_of, run, tmp_path):
    options = options_of(name, compare=False)
    made = _made(strategy_run, tmp_path, backbone, name, options, **_earlier(name, run))
    run, found = strategy_run.train(made)
    history = found["histories"]["history.json"]
    assert all(epoch["loss"] > 0 for epoch in history)
    if "compare" in extensions.load(Strategy, name).options.__dataclass_fields__:
        assert found["metrics"]["strategy"]
    answers, own = strategy_run.answers(run)
    assert answers == own


@pytest.mark.parametrize("name", ["translation", "masked_lm", "similarity"])
@pytest.mark.parametrize("method", ALL)
def test_it_says_in_one_sentence_what_it_is_not_for(method, name, options_of):
    from types import SimpleNamespace

    strategy = extensions.load(Strategy, method)
    loaded = task.load(name)
    made = SimpleNamespace(
        strategy=SimpleNamespace(name=method),
        task=name,
        options=loaded.options(),
        augment=(),
        earlier=SimpleNamespace(start_from="RUN"),
        optimizer=SimpleNamespace(accumulate=1),
    )
    own = strategy.options(**options_of(method))
    if said := _refused(strategy, loaded, made, own):
        assert f"--strategy {method}" in said
        assert "\n" not in said
    else:  # similarity reads, and so can be trained by most
        assert name == "similarity" or method in CONTINUAL - {"lwf", "pseudo_rehearsal"}


# Of all of them, with noise and a second source; and with an earlier run's answers and rows.
@pytest.mark.parametrize("name", [pytest.param("vat", marks=pytest.mark.slow), "lwf"])
def test_killed_it_ends_as_if_it_was_not(name, backbone, strategy_run, options_of, run, tmp_path):
    def made(folder):
        whole = options_of(name, compare=True)
        earlier = _earlier(name, run)
        return _made(strategy_run, tmp_path / folder, backbone, name, whole, **earlier)

    def kill():
        raise Killed

    whole = strategy_run.fit(made("whole"))
    assert set(whole[1]) == {"plain", "fit"}
    with pytest.raises(Killed):
        strategy_run.fit(made("cut"), further=strategy_run.killing("fit", 3, kill))
    assert strategy_run.fit(made("cut"), resume=True) == whole


@pytest.mark.slow
def test_without_the_method_is_what_supervised_training_gives(
    backbone, strategy_run, options_of, tmp_path
):
    both = strategy_run.fit(
        _made(strategy_run, tmp_path / "fgm", backbone, "fgm", options_of("fgm", compare=True))
    )
    plain = strategy_run.fit(_made(strategy_run, tmp_path / "s", backbone, "supervised", {}))
    assert both[1]["plain"] == plain[1]["fit"]
    alone = strategy_run.fit(
        _made(strategy_run, tmp_path / "a", backbone, "fgm", options_of("fgm", compare=False))
    )
    # What is kept does not depend on whether the other model was trained for comparison.
    assert both[0] == alone[0]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", [("--peft", "lora"), ("--replicas", "2")], ids=lambda way: way[1])
@pytest.mark.parametrize("name", TRAINED)
def test_kill_9_with_few_weights_and_on_two_devices(name, way, backbone, options_of, run, tmp_path):
    def process(folder, *flags):
        line = [sys.executable, str(HERE / "strategy_run.py"), str(tmp_path / folder), backbone]
        line += [name, *way, "--options", json.dumps(options_of(name))]
        line += ["--start-from", str(run)] if name in CONTINUAL else []
        return subprocess.run(
            [*line, *flags], capture_output=True, text=True, cwd=HERE.parents[1], check=False
        )

    done = process("whole")
    assert done.returncode == 0, done.stderr[-3000:]
    cut = process("cut", "--kill", KILLS.get(name, "fit:7"))
    assert cut.returncode == -9, cut.stderr[-3000:]
    resumed = process("cut", "--resume")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    whole, cut = (json.loads((tmp_path / f / "found.json").read_text()) for f in ("whole", "cut"))
    assert len(cut.pop("answers")) == 3
    assert cut == whole
