"""Whether a search that is killed ten times at random ends as one that is not.

The same search runs twice in a folder: once in peace, and once killed by SIGKILL after random 5 to
40 seconds (``--longest``, where a trial takes minutes), its own process group (the trial goes on
without it) and the trial alone in turn, and resumed each time. Started again in the same folder, it
goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SEARCH = (
    *("--dataset", "trec", "--limit", "60", "--epochs", "2", "--trials", "4"),
    *("--search-finalists", "0", "--no-search-prune"),
)
ENOUGH = 10  # kills
# Columns of trials.csv that two studies cannot share.
BY_CLOCK = ("run", "seconds", "costs.latency", "costs.seconds")


def started(name: str) -> subprocess.Popen[bytes]:
    """Start or resume the search under a name, in a process group of its own."""
    command = [sys.executable, "-m", "tfnlp.study", "search", *SEARCH, "--name", name, "--resume"]
    with Path(f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def trial() -> tuple[int, int] | None:
    """Return (process, trial's number) of the killed search's trial that runs here, if any.

    It is forked, and known by the file that it writes to.
    """
    outputs = Path.cwd() / "studies/killed/trials"
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_study = b"tfnlp.study" in (entry / "cmdline").read_bytes()
            target = (entry / "fd/1").readlink()
        except OSError:
            continue
        if not is_study and target.parent == outputs and target.suffix == ".out":
            return int(entry.name), int(target.stem)
    return None


def kill(study: subprocess.Popen[bytes], number: int, delay: float) -> dict[str, Any]:
    """Kill the study's process group, or its trial; return what was hit."""
    found = trial()
    alone = number % 2 == 0 and found is not None
    history = sorted(Path("tensorboard_logs").glob(f"killed-{found[1] if found else 0}/*/history*"))
    epochs = len(json.loads(history[-1].read_text("utf-8"))) if history else 0
    if alone:
        assert found
        os.kill(found[0], signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # one that had waited for a trial takes it up
            study.wait(20)  # the others end
    else:
        os.killpg(study.pid, signal.SIGKILL)
        study.wait()
    what = "trial" if alone else "study"
    return {"after": delay, "what": what, "trial": found[1] if found else None, "epochs": epochs}


def run_killed(seed: int, longest: float) -> list[dict[str, Any]]:
    """Run the search to its end under kills, which are noted in kills.json."""
    file = Path("kills.json")
    kills = json.loads(file.read_text("utf-8")) if file.exists() else []
    study = started("killed")
    while True:
        delay = random.Random(seed * 1000 + len(kills)).uniform(5, longest)
        try:
            code = study.wait(delay if len(kills) < ENOUGH else None)
        except subprocess.TimeoutExpired:
            kills.append(kill(study, len(kills) + 1, round(delay, 1)))
            file.write_text(json.dumps(kills), "utf-8")
            print(f"kill {len(kills)}: {kills[-1]}", flush=True)
            study = study if study.poll() is None else started("killed")
            continue
        if code == 0:
            return kills
        sys.exit(f"the search ended with {code}: see {Path('killed.log').resolve()}")


def table(name: str) -> list[dict[str, str]]:
    """Return a search's trials.csv without what no two searches share."""
    with Path("studies", name, "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in BY_CLOCK} for row in rows]


def main() -> int:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where both searches run")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument(
        "--longest", type=float, default=40, help="longest time until a kill; shorter is 5 [s]"
    )
    given = parser.parse_args()
    root = str(Path(__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    given.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(given.folder)
    began = time.monotonic()
    if (code := started("whole").wait()) != 0:
        sys.exit(f"the search ended with {code}: see {Path('whole.log').resolve()}")
    kills = run_killed(given.seed, given.longest)
    print(
        "\n| kill | after [s] | of | in trial | which had epochs |\n| --- | --- | --- | --- | --- |"
    )
    for number, each in enumerate(kills, 1):
        print("|", number, *(f"| {each[k]}" for k in ("after", "what", "trial", "epochs")), "|")
    whole, killed = table("whole"), table("killed")
    differ = [(a, b) for a, b in zip(whole, killed, strict=False) if a != b]
    for a, b in differ:
        names = [name for name in a if a[name] != b.get(name)]
        print(f"trial {a['trial']} differs:", [(name, a[name], b.get(name)) for name in names])
    same = not differ and len(whole) == len(killed)
    cells = sum(len(row) for row in whole)
    print(
        f"\n{len(kills)} kills; trials.csv of {len(whole)} trials, {cells} cells without "
        f"{', '.join(BY_CLOCK)}: {'equal' if same else 'not equal'} "
        f"({(time.monotonic() - began) / 60:.0f} min)"
    )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
