"""Load on `tfnlp.serve` and on a Transformers pipeline served by FastAPI, the same MiniLM in both.

python -m tfnlp.train --name trec && python benchmarks/serving.py saved_models/trec
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import grpc
import numpy as np
import peers
from rich.progress import track

from pipelines.sources import load_dataset
from tfnlp.runtime.startup import quiet_start

with quiet_start():
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from tfnlp.backbones import loading


@dataclass(frozen=True)
class Contender:
    """A server under load.

    Attributes:
        name: in the table.
        client: makes what sends one text and waits for the answer; one for each client.
    """

    name: str
    client: Callable[[], _Client]


class _Client(Protocol):
    """Sends requests one after the other."""

    async def send(self, text: str) -> None: ...


class _Http:
    """HTTP/1.1 over one connection: a library would take longer than what is measured."""

    def __init__(self, port: int, path: str, body: Callable[[str], object]) -> None:
        self.port, self.path, self.body = port, path, body
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, text: str) -> None:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        body = json.dumps(self.body(text)).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        told = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", told, re.IGNORECASE)
        answer = await reader.readexactly(int(length[1]) if length else 0)
        if b" 200 " not in told.split(b"\r\n")[0]:
            raise RuntimeError(f"{told!r} {answer!r}")


class _Grpc:
    """gRPC over a channel of its own."""

    def __init__(self, address: str, model: str, column: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.aio.insecure_channel(address, options)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model, self.column = model, column

    async def send(self, text: str) -> None:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model
        request.inputs[self.column].CopyFrom(tf.make_tensor_proto([text]))
        await self.stub.Predict(request)


async def closed(contender: Contender, clients: int, seconds: float, texts: list[str]) -> dict:
    """Let some clients send one request after the other."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def go_on(client: _Client, seed: int) -> None:
        choose = random.Random(seed)
        while (begun := time.perf_counter()) < end:
            await client.send(choose.choice(texts))
            taken.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(go_on(contender.client(), seed) for seed in range(clients)))
    return _told(taken, time.perf_counter() - begun)


async def opened(contender: Contender, rate: float, seconds: float, texts: list[str]) -> dict:
    """Send requests at random times, this many a second, whether or not others are answered.

    Time counts from when a request was due: one that waits for a client waits too.
    """
    choose = random.Random(0)
    due = list(np.cumsum([choose.expovariate(rate) for _ in range(int(rate * seconds))]))
    idle = [contender.client() for _ in range(256)]
    taken: list[float] = []
    begun = time.perf_counter()

    async def one(moment: float, text: str) -> None:
        await asyncio.sleep(max(0.0, begun + moment - time.perf_counter()))
        while not idle:
            await asyncio.sleep(0.001)
        client = idle.pop()
        await client.send(text)
        idle.append(client)
        taken.append(time.perf_counter() - begun - moment)

    await asyncio.gather(*(one(moment, choose.choice(texts)) for moment in due))
    return _told(taken, time.perf_counter() - begun)


def _told(taken: list[float], seconds: float) -> dict:
    """Return what a load took: answers a second, and times [ms]."""
    p50, p95, p99 = (1e3 * np.percentile(taken, share) for share in (50, 95, 99))
    return {"rate": len(taken) / seconds, "p50": p50, "p95": p95, "p99": p99}


@contextlib.contextmanager
def ours(model: Path) -> Iterator[tuple[int, str]]:
    """Run `tfnlp.serve`; yields REST's port and gRPC's address."""
    command = [sys.executable, "-m", "tfnlp.serve", str(model), "--quiet"]
    command += ["--rest-port", "0", "--grpc-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        rest, rpc = process.stdout.readline(), process.stdout.readline()
        yield int(rest.rpartition(":")[2]), rpc.split()[1]
        process.terminate()


@contextlib.contextmanager
def peer(python: Path, labels: int, folder: Path, port: int) -> Iterator[int]:
    """Run the peer over the same weights under a new classifier; yields its port."""
    made = (
        "import sys; from transformers import AutoModelForSequenceClassification as M, "
        "AutoTokenizer as T; s, d, n = sys.argv[1:]; "
        "M.from_pretrained(s, num_labels=int(n)).save_pretrained(d); "
        "T.from_pretrained(s).save_pretrained(d)"
    )
    source = loading.find("minilm-l6-en")
    subprocess.run([python, "-c", made, source, folder, str(labels)], check=True)
    script = Path(__file__).with_name("serving_peer.py")
    with subprocess.Popen([python, script, folder, str(port)]) as process:
        for _ in range(240):
            with contextlib.suppress(OSError):
                asyncio.run(_Http(port, "/predict", lambda text: [text]).send("ready?"))
                break
            time.sleep(0.5)
        yield port
        process.terminate()


def measured(contenders: list[Contender], given: argparse.Namespace, texts: list[str]) -> None:
    """Load all in turn, several times, and print medians."""
    loads: list[tuple[str, Callable]] = [
        ("1 client" if n == 1 else f"{n} clients", partial(closed, clients=n))
        for n in given.clients
    ]
    loads += [(f"{rate:g} a second", partial(opened, rate=rate)) for rate in given.rates]
    for contender in contenders:
        asyncio.run(closed(contender, 8, 5, texts))  # warms up
    print("| load | server | answers/s | p50 ms | p95 ms | p99 ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, load in loads:
        found: dict[str, list[dict]] = {contender.name: [] for contender in contenders}
        for _ in track(range(given.repeats), name, transient=True):
            for contender in contenders:
                run = load(contender, seconds=given.seconds, texts=texts)
                found[contender.name].append(asyncio.run(run))
        for server, runs in found.items():
            middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            times = " | ".join(f"{middle[key]:.1f}" for key in ("p50", "p95", "p99"))
            print(f"| {name} | {server} | {middle['rate']:.1f} | {times} |", flush=True)


def main() -> None:
    """Start the servers, load them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of versions of a classifier on MiniLM")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--rates", type=float, nargs="*", default=[20.0, 50.0, 100.0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--peer-python", type=Path, help="of an environment with " + " ".join(peers.PACKAGES)
    )
    given = parser.parse_args()
    python = peers.installed(given.peer_python)
    texts = load_dataset("trec", ["test"])["test"].columns["text"]
    name = given.model.resolve().name
    print(f"{os.cpu_count()} cores, {len(texts)} questions of TREC, one a request\n")
    with (
        tempfile.TemporaryDirectory() as folder,
        ours(given.model) as (rest, rpc),
        peer(python, 6, Path(folder), rest + 1) as port,
    ):
        path = f"/v1/models/{name}:predict"
        measured(
            [
                Contender("tfnlp.serve, REST", lambda: _Http(rest, path, _instances)),
                Contender("tfnlp.serve, gRPC", lambda: _Grpc(rpc, name, "text")),
                Contender(
                    "Transformers, FastAPI", lambda: _Http(port, "/predict", lambda text: [text])
                ),
            ],
            given,
            texts,
        )


def _instances(text: str) -> object:
    return {"instances": [text]}


if __name__ == "__main__":
    main()
