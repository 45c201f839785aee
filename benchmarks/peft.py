"""What a training step costs with each peft method, beside full fine-tuning.

python benchmarks/peft.py --backbone mpnet-base-en --width 32 128 --methods lora prefix

Each method trains a classifier on random ids in processes of its own, in turn with full
fine-tuning ("full") and with a frozen backbone ("head"). The table has medians over the rounds:
seconds of a step after the first three, and the most memory that the process had.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys

from speed_step import learner

STEPS = 8


def measure(backbone: str, method: str, rows: int, width: int) -> dict[str, float]:
    """Return seconds of a step, megabytes and trained parameters of a method, in this process."""
    peft = None if method == "full" else method
    learn = learner(rows, width, name=backbone, peft=peft)
    for _ in range(3):
        learn()
    seconds = statistics.median(learn() for _ in range(STEPS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # Linux: kilobytes
    return {"seconds": seconds, "megabytes": peak}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="minilm-l6-en")
    parser.add_argument("--rows", type=int, default=32, help="of a batch (default: %(default)s)")
    parser.add_argument("--width", type=int, nargs="+", default=[32], help="tokens of each row")
    parser.add_argument("--methods", nargs="+", default=["lora"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--apart", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.apart:
        print(json.dumps(measure(args.backbone, args.apart, args.rows, args.width[0])))
        return
    print(f"{args.backbone}, {args.rows} rows a batch")
    print("| tokens | method | a step [s] | of full | peak memory [MB] | of full |")
    print("| --- | --- | --- | --- | --- | --- |")
    for width in args.width:
        methods = ["full", *(each for each in args.methods if each != "full")]
        found: dict[str, list[dict[str, float]]] = {each: [] for each in methods}
        for _ in range(args.rounds):
            for each in methods:
                found[each].append(_in_process(args, each, width))
        for each in methods:
            cells = []
            for key, shown in (("seconds", "{:.2f}"), ("megabytes", "{:,.0f}")):
                medians = [statistics.median(f[key] for f in found[m]) for m in (each, "full")]
                cells += [shown.format(medians[0]), f"{medians[0] / medians[1]:.2f}"]
            print(f"| {width} | {each} |", " | ".join(cells), "|", flush=True)


def _in_process(args: argparse.Namespace, method: str, width: int) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--apart", method, "--backbone", args.backbone]
    command += ["--rows", str(args.rows), "--width", str(width)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
