"""How often `python -m tfnlp.study compare` sees a difference of settings that is not there.

python benchmarks/compare.py simulated [--pairs 400]
python benchmarks/compare.py rows [--dataset trec] [--pairs 20]
python benchmarks/compare.py study STUDIES/NAME [--pairs 20]

``simulated``: both sides have the same settings. A row is right if the sum of normal effects of
row, row and side, seed, and of row and seed, is above a threshold (a probit model). Rates of a
false difference at 3 and 5 runs a side, and of a true one of two points, beside those of the
percentile bootstrap over seeds and rows, and of a t test over the seeds that leaves the rows out.

``rows``: a small network over TF-IDF, trained in seconds on real rows, in pairs of three runs
that differ by seed only; no seed is used twice.

``study``: the same with the runs of a study ``seeds`` of tfnlp. With fewer than six runs a pair
they are drawn again for each pair, so that pairs share runs.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline

from pipelines.sources import load_dataset
from tfnlp.evaluation import comparing, intervals

METHODS = ("compare", "bootstrap over seeds and rows", "t test over seeds")
# Standard deviations of the effects of row, row and side, and seed, beside 1 of row and seed.
SCENES = {
    "luck of single rows": (2.0, 0.0, 0.0),
    "seeds differ": (2.0, 0.0, 0.1),
    "seeds differ much": (2.0, 0.0, 0.3),
    "rows favour a side": (2.0, 1.0, 0.1),
}
SHARE = 0.85  # of rows that are right
POINTS = 0.02


@functools.cache
def counts(rows: int) -> np.ndarray:
    """Return how often each row stands in each draw that a run makes of so many, float (N, D)."""
    found: list[np.ndarray] = []

    def count(places: np.ndarray) -> dict[str, float]:
        found.append(np.bincount(places, minlength=rows))
        return {}

    intervals.resampled(count, [], rows)
    return np.array(found, float).T


def drawn(right: np.ndarray) -> np.ndarray:
    """Return shares of right rows on rows drawn again, as a run keeps them: (S, N) -> (S, D)."""
    shares: np.ndarray = right @ counts(right.shape[1]) / right.shape[1]
    return shares


def verdicts(first: np.ndarray, second: np.ndarray) -> list[bool]:
    """Return whether each method sees a difference between two sides, bool (S, N) each."""
    sides = (first, second)
    shares = [side.mean(1) for side in sides]
    resampled = [drawn(side) for side in sides]
    seen = comparing.settings(*shares, *resampled).seen
    random = np.random.default_rng(0)
    count, draws = resampled[0].shape
    means = [
        np.take_along_axis(each, random.integers(0, count, (count, draws)), 0).mean(0)
        for each in resampled
    ]
    low, high = np.quantile(means[1] - means[0], [0.025, 0.975])
    by_seeds = intervals.t_interval(shares[1] - shares[0])
    return [seen, *(bool(ends[0] > 0 or ends[1] < 0) for ends in ((low, high), by_seeds))]


def scene(
    effects: tuple[float, float, float], runs: int, rows: int, points: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are right of two sides' runs, bool (S, N) each."""
    random = np.random.default_rng(seed)
    of_row, of_side, of_seed = effects
    spread = np.sqrt(1 + of_row**2 + of_side**2 + of_seed**2)
    row = random.normal(0, of_row, rows)
    found = []
    for share in (SHARE, SHARE + points):
        level = stats.norm.ppf(share) * spread + row + random.normal(0, of_side, rows)
        level = level + random.normal(0, of_seed, (runs, 1))
        found.append(level + random.normal(size=(runs, rows)) > 0)
    return found[0], found[1]


def simulated(pairs: int) -> None:
    """Print the rates of false and of true differences in simulated runs."""
    print(f"| runs | rows | scene | {' | '.join(METHODS)} | compare, {POINTS:.0%} better |")
    print(f"| --- | --- | --- | {'--- | ' * len(METHODS)}--- |")
    for runs in (3, 5):
        every = []
        for rows in (100, 500, 2000):
            for name, effects in SCENES.items():
                same = [verdicts(*scene(effects, runs, rows, 0.0, i)) for i in range(pairs)]
                better = (scene(effects, runs, rows, POINTS, i) for i in range(pairs // 4))
                power = np.mean([verdicts(*sides)[0] for sides in better])
                cells = [f"{rate:.3f}" for rate in [*np.mean(same, 0), power]]
                print(f"| {runs} | {rows} | {name} | {' | '.join(cells)} |", flush=True)
                every.append([*np.mean(same, 0), power])
        cells = [f"{rate:.3f}" for rate in np.mean(every, 0)]
        print(f"| {runs} | all | all | {' | '.join(cells)} |", flush=True)


def networks(dataset: str, runs: int) -> np.ndarray:
    """Return which test rows small networks have right that differ by seed only, bool (R, N)."""
    rows = load_dataset(dataset)
    train, test = rows["train"].columns, rows["test"].columns
    features = make_pipeline(TfidfVectorizer(sublinear_tf=True), TruncatedSVD(100, random_state=0))
    inputs, asked = features.fit_transform(train["text"][:1000]), features.transform(test["text"])
    found = []
    for seed in range(runs):
        network = MLPClassifier((32,), max_iter=15, learning_rate_init=1e-2, random_state=seed)
        with np.errstate(all="ignore"):
            network.fit(inputs, train["label"][:1000])
        found.append(network.predict(asked) == np.array(test["label"], object))
    return np.array(found)


def kept(study: Path) -> np.ndarray:
    """Return which rows the runs of a study have right, bool (R, N)."""
    with (study / "trials.csv").open(encoding="utf-8") as file:
        folders = [row["run"] for row in csv.DictReader(file) if row["state"] == "complete"]
    digits = [
        json.loads((Path(run) / "judged.json").read_text("utf-8"))["right"] for run in folders
    ]
    return np.array([[digit == "1" for digit in row] for row in digits])


def sided(right: np.ndarray, pairs: int, runs: int = 3) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of sides; no run stands in two pairs if there are enough."""
    random = np.random.default_rng(0)
    enough = len(right) >= 2 * runs * pairs
    order = random.permutation(len(right))
    for pair in range(pairs):
        start = 2 * runs * pair
        places = order[start : start + 2 * runs] if enough else random.permutation(len(right))
        yield right[places[:runs]], right[places[runs : 2 * runs]]


def shown(right: np.ndarray, pairs: int) -> None:
    """Print how many pairs of sides that differ by seed only each method takes for different."""
    print(f"{len(right)} runs, {right.shape[1]} rows, right: {right.mean():.4f}, ", end="")
    print(f"standard deviation over seeds: {right.mean(1).std(ddof=1):.4f}")
    found = np.sum([verdicts(*sides) for sides in sided(right, pairs)], 0)
    for name, count in zip(METHODS, found, strict=True):
        print(f"{name}: {count} of {pairs} pairs ({count / pairs:.1%})")


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("simulated", "rows", "study"))
    parser.add_argument("study", type=Path, nargs="?")
    parser.add_argument("--dataset", default="trec")
    parser.add_argument("--pairs", type=int)
    args = parser.parse_args()
    if args.what == "simulated":
        simulated(args.pairs or 400)
        return
    pairs = args.pairs or 20
    shown(networks(args.dataset, 6 * pairs) if args.what == "rows" else kept(args.study), pairs)


if __name__ == "__main__":
    main()
