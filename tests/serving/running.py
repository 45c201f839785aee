"""A server in a process of its own, asked over real sockets."""

import json
import re
import subprocess
import sys
import time

import requests

PATIENCE = 60  # seconds until something must have happened


class Running:
    """A server in a process of its own."""

    def __init__(self, models, *flags, log):
        command = [sys.executable, "-m", "tfnlp.serve", str(models), "--poll", "0.1", *flags]
        self.log = log
        self.process = subprocess.Popen(
            [*command, "--rest-port", "0", "--grpc-port", "0"],
            stdout=subprocess.PIPE,
            stderr=log.open("wb"),
            text=True,
        )
        said = [self.process.stdout.readline() for _ in range(2)]
        assert said[1], log.read_text()
        self.url = re.match(r"REST (\S+)", said[0])[1]
        self.grpc = re.match(r"gRPC (\S+)", said[1])[1]

    def ask(self, x=1.0, which="", **more):
        body = {"instances": [x]}
        return requests.post(f"{self.url}/v1/models/adds{which}:predict", json=body, **more)

    def states(self):
        told = requests.get(f"{self.url}/v1/models/adds").json()["model_version_status"]
        return {int(t["version"]): t["state"] for t in told}

    def lines(self):
        return [json.loads(x) for x in self.log.read_text().splitlines() if x.startswith("{")]


def until(condition):
    """Wait for something."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
