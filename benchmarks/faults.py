"""What `tfnlp.serve` loses when it is abused: bad requests, versions, load, kills, a full disk.

    python benchmarks/faults.py [FAULT ...] [--requests 20000] [--seconds 60] [--versions 20]

Each fault has a server of its own, on loopback, of a small model that adds a number, so that an
answer tells which version gave it and whether it is right. While it is abused, /healthz is asked,
and its memory and descriptors are noted before and after. It prints a table: requests tried,
answered right, refused rightly (4xx, or 503 and 504 with a reason), lost (no response), wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import faults_malformed
import faults_server
import requests
from faults_server import Server


@dataclass
class Count:
    """What became of requests.

    Attributes:
        found: by ``right``, ``refused``, ``lost``, ``wrong`` and ``5xx``.
        notes: what else the table says.
    """

    found: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def ask(self, server: Server, x: float, adds: tuple[float, ...], timeout: float = 90) -> None:
        """Ask for a sum, and note whether it is right: of one of the versions that there are."""
        try:
            answer = server.ask(x, timeout)
        except requests.RequestException:
            self.found["lost"] += 1
            return
        if answer.status_code == 200:
            right = answer.json().get("predictions") in [[x + add] for add in adds]
            self.found["right" if right else "wrong"] += 1
        else:
            self.judge(answer.status_code, answer.text)

    def judge(self, status: int, text: str) -> None:
        """Note a response that is no answer."""
        meant = status < 500 or (status in (503, 504) and "error" in text)
        self.found["refused" if meant else "5xx"] += 1


@contextmanager
def crowd(count: Count, server: Server, clients: int, adds: tuple[float, ...]) -> Iterator[None]:
    """Ask from many clients, as fast as answers come, while something happens."""
    stop = threading.Event()

    def go_on(seed: int) -> None:
        numbers = random.Random(seed)
        while not stop.is_set():
            count.ask(server, float(numbers.randrange(1000)), adds)

    threads = [threading.Thread(target=go_on, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# ------------------------------------------------------------------- the faults

HUGE = faults_malformed.declared(200_000_000)


def malformed(folder: Path, args: argparse.Namespace) -> Count:
    """Malformed requests, REST and gRPC in turn, and a right one after every hundred."""
    count = Count()
    with faults_server.running(folder, 1, count.notes) as server:
        draw = random.Random(args.seed)
        with requests.Session() as session, faults_malformed.channel(server) as call:
            for number in range(args.requests):
                if number % 100 == 0:
                    count.ask(server, float(number % 1000), (1.0,))
                elif number % 2:
                    status, text = faults_malformed.rest(session, server, draw)
                    count.found["right"] += status == 200
                    if status != 200:
                        count.judge(status, text)
                else:
                    code = faults_malformed.grpc(call, draw)
                    count.found[code] += 1
        server.settled()
    return count


def large(folder: Path, args: argparse.Namespace) -> Count:
    """Requests of 16,000 rows, and others that would take all memory or time if they were read."""
    count = Count()
    with faults_server.running(folder, 1, count.notes) as server:
        body = json.dumps({"instances": [float(x) for x in range(16000)]}).encode()
        wanted = {"predictions": [x + 1.0 for x in range(16000)]}
        url = f"{server.url}/v1/models/adds:predict"
        for _ in range(5):
            answer = requests.post(url, data=body, timeout=90)
            count.found["right" if answer.json() == wanted else "wrong"] += 1
            for data in faults_malformed.monsters():
                refused = requests.post(url, data=data, timeout=90)
                count.judge(refused.status_code, refused.text)
            with faults_malformed.channel(server) as call:
                count.found[faults_malformed.answered(call, "PredictionService/Predict", HUGE)] += 1
        server.settled()
    return count


def versions(folder: Path, args: argparse.Namespace) -> Count:
    """Versions that come and go, one after the other, under four clients."""
    count = Count()
    adds = tuple(float(number) for number in range(1, args.versions + 2))
    aside = Path(tempfile.mkdtemp())
    faults_server.place(aside, *range(2, args.versions + 2))
    with faults_server.running(folder, 1, count.notes) as server:
        with crowd(count, server, 4, adds):
            for number in range(2, args.versions + 2):
                shutil.move(aside / "adds" / str(number), folder / "adds" / str(number))
                server.until_version(number)
                shutil.rmtree(folder / "adds" / str(number - 1))
                if number == 3:  # what any server takes once
                    server.settled()
                    server.before = server.state()
        server.settled()
    return count


def overload(folder: Path, args: argparse.Namespace) -> Count:
    """Twice as many requests as it answers."""
    count = Count()
    with faults_server.running(folder, 1, count.notes, rounds=300) as server:
        begun = time.monotonic()
        with crowd(count, server, 8, (1.0,)):
            time.sleep(5)
        rate = count.found["right"] / (time.monotonic() - begun)
        end = time.monotonic() + args.seconds
        with ThreadPoolExecutor(256) as pool:
            while time.monotonic() < end:
                pool.submit(count.ask, server, float(random.randrange(1000)), (1.0,))
                time.sleep(1 / (2 * rate))
        count.notes.append(f"{rate:.0f} answers a second")
        server.settled()
    return count


def terminated(folder: Path, args: argparse.Namespace) -> Count:
    """SIGTERM with requests in progress: those are answered; a new connection is not."""
    count = Count()
    with faults_server.running(folder, 1, count.notes, rounds=2000) as server:
        with ThreadPoolExecutor(32) as pool:
            for x in range(32):
                pool.submit(count.ask, server, float(x), (1.0,))
            server.until_active(32)
            server.process.send_signal(signal.SIGTERM)
        count.notes.append(f"exit status {server.process.wait(60)}")
    return count


def killed(folder: Path, args: argparse.Namespace) -> Count:
    """Kill -9 under load, then a new server on the folder: only what was in progress is lost."""
    count = Count()
    with faults_server.running(folder, 1, count.notes) as server:
        during = Count()
        with ThreadPoolExecutor(16) as pool:
            for x in range(64):
                pool.submit(during.ask, server, float(x), (1.0,))
            time.sleep(0.02)
            server.process.kill()
        count.notes.append(f"in progress when killed: {during.found['lost']}")
        count.found["wrong"] += during.found["wrong"]
    with faults_server.running(folder, 1, count.notes, placed=True) as server:
        for x in range(64):
            count.ask(server, float(x), (1.0,))
    return count


def full_disk(folder: Path, args: argparse.Namespace) -> Count:
    """A version that was cut off because the disk was full, and a log that cannot be written."""
    count = Count()
    with faults_server.running(folder, 1, count.notes, log=Path("/dev/full")) as server:
        aside = Path(tempfile.mkdtemp())
        faults_server.place(aside, 2)
        cut = aside / "adds" / "2" / "variables" / "variables.data-00000-of-00001"
        cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
        shutil.move(aside / "adds" / "2", folder / "adds" / "2")
        time.sleep(2)
        for x in range(200):
            count.ask(server, float(x), (1.0,))
    return count


def damaged(folder: Path, args: argparse.Namespace) -> Count:
    """Versions damaged in ten ways: refused, the old one serves."""
    count = Count()
    draw = random.Random(args.seed)
    aside = Path(tempfile.mkdtemp())
    faults_server.place(aside, *range(2, 12))
    with faults_server.running(folder, 1, count.notes) as server:
        refused = 0
        for number in range(2, 12):
            path = aside / "adds" / str(number)
            parts = sorted(part for part in path.rglob("*") if part.is_file())
            part = draw.choice([p for p in parts if p.name != "fingerprint.pb"])
            content = bytearray(part.read_bytes())
            if number % 2:
                content = content[: len(content) // 2]
            else:
                content[: len(content) // 2] = draw.randbytes(len(content) // 2)
            part.write_bytes(content)
            shutil.move(path, folder / "adds" / str(number))
            refused += server.until_tried(number)
            for x in range(20):
                count.ask(server, float(x), (1.0,))
            shutil.rmtree(folder / "adds" / str(number))
        count.notes.append(f"{refused} of 10 versions refused")
    return count


def descriptors(folder: Path, args: argparse.Namespace) -> Count:
    """100 descriptors, and 400 connections that say nothing, or never end their headers or body."""
    count = Count()
    begun = [
        b"",
        b"GET /heal",
        b"POST /v1/models/adds:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    ]
    with faults_server.running(folder, 1, count.notes, limit=100) as server:
        held = []
        for number in range(400):
            with suppress(OSError):
                held.append(socket.create_connection(server.address))
                held[-1].send(begun[number % 3])
            if number % 4 == 0:
                count.ask(server, float(number), (1.0,))
        for each in held:
            each.close()
        time.sleep(1)
        for x in range(50):
            count.ask(server, float(x), (1.0,))
        server.settled()
    return count


FAULTS: dict[str, Callable[[Path, argparse.Namespace], Count]] = {
    each.__name__: each
    for each in (
        *(malformed, large, versions, overload, terminated),
        *(killed, full_disk, damaged, descriptors),
    )
}


def row(name: str, count: Count) -> str:
    """Return a row of the table."""
    found = count.found
    kinds = ("right", "refused", "lost", "wrong", "5xx")
    cells = [sum(found.values()), *(found[kind] for kind in kinds)]
    shown = " | ".join(f"{cell:,}" for cell in cells)
    return f"| {name.replace('_', ' ')} | {shown} | {'; '.join(count.notes)} |"


def main() -> None:
    """Run the faults that are named, or all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(FAULTS))
    parser.add_argument("--requests", type=int, default=20000, help="malformed ones")
    parser.add_argument("--seconds", type=float, default=60.0, help="of too much load")
    parser.add_argument("--versions", type=int, default=20, help="that come and go")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if unknown := set(args.faults) - set(FAULTS):
        parser.error(f"there is no fault {unknown.pop()!r}; there are: {', '.join(FAULTS)}")
    print("| fault | tried | right | refused | lost | wrong | other 5xx | besides |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    every: dict[str, dict[str, int]] = {}
    for name in args.faults or FAULTS:
        with tempfile.TemporaryDirectory() as place:
            count = FAULTS[name](Path(place), args)
        every[name] = dict(count.found)
        print(row(name, count), flush=True)
    Path("faults.json").write_text(json.dumps(every, indent=1), "utf-8")


if __name__ == "__main__":
    main()
