"""Clients that say more than they are answered, read nothing, or do not speak HTTP to the end."""

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
import requests
import uvicorn
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from tfnlp.serving import connections, sockets
from tfnlp.serving.rules import Rules
from tfnlp.serving.server import Options, _web_server
from tfnlp.serving.service import Service

from .adding import place
from .running import Running

ASKED = b"GET /page/app.js HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    (folder / "models" / "adds").mkdir(parents=True)
    place(folder / "models" / "adds", 1, 1.0)
    running = Running(folder / "models", log=folder / "server.log")
    yield running
    running.process.terminate()
    running.process.wait(30)
    assert "Traceback" not in running.log.read_text()


def connected(server):
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def memory(server):
    said = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", said)[1]) / 1024


@pytest.mark.parametrize("host", ["localhost", "elsewhere"])
def test_a_body_that_is_no_http_after_its_answer_is_no_traceback(server, host):
    head = f"GET /v1/models/adds HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(server) as sock:  # at once
        sock.sendall(head.encode() + b"zz\r\n")
        assert b"400 Bad Request" in sock.recv(2**16)
    with connected(server) as sock:  # after the answer
        sock.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += sock.recv(2**16)
        sock.sendall(b"zz\r\n")
        with contextlib.suppress(ConnectionError):
            assert sock.recv(2**16) == b""
    assert requests.get(f"{server.url}/healthz").ok


def test_requests_sent_before_their_answers_are_left_in_the_socket(server):
    with connected(server) as sock:
        before, answers = memory(server), 0
        sock.setblocking(False)
        unsent = memoryview(ASKED * 4_000_000)
        while answers < 400:
            with contextlib.suppress(BlockingIOError):
                unsent = unsent[sock.send(unsent[: 2**20]) :]
            with contextlib.suppress(BlockingIOError):
                answers += sock.recv(2**20).count(b"HTTP/1.1 200")
        assert memory(server) - before < 40  # 256 kB an answer were 100 MB


def test_requests_sent_before_their_answers_are_answered(server):
    body = b'{"instances": [1.0]}'
    head = b"POST /v1/models/adds:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    post = head + b"%d\r\n\r\n" % len(body) + body
    large = head + b"%d\r\n\r\n" % (len(body) + 300_000) + body + b" " * 300_000
    several = [post, large, ASKED, large, post] * 5
    with connected(server) as sock:
        sock.sendall(b"".join(several))
        found = b""
        while found.count(b"HTTP/1.1 200") < len(several):
            part = sock.recv(2**20)
            assert part
            found += part


def test_many_models_in_a_configuration_do_not_stop_the_server(server):
    request = model_management_pb2.ReloadConfigRequest()
    for number in range(30_000):
        request.config.model_config_list.config.add(name=f"m{number}", base_path="/elsewhere")
    with grpc.insecure_channel(server.grpc) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        answer = stub.HandleReloadConfigRequest.future(request, timeout=60)
        while not answer.done():
            assert requests.get(f"{server.url}/healthz", timeout=5).ok  # was silent for 25 s
        assert answer.code() == grpc.StatusCode.PERMISSION_DENIED


def test_a_client_that_reads_nothing_loses_its_connection(monkeypatch):
    monkeypatch.setattr(connections, "READ", 0.3)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                for _ in range(2000):
                    await send(
                        {"type": "http.response.body", "body": bytes(2**16), "more_body": True}
                    )

    async def ended():
        listener = connections.Listener(sockets.listen("127.0.0.1", 0, "--port"), 10, False)
        protocol = connections.Protocol.of(listener)
        config = uvicorn.Config(app, http=protocol, log_config=None, lifespan="off")
        web = uvicorn.Server(config)
        running = asyncio.create_task(web.serve([listener]))
        _reader, writer = await asyncio.open_connection(*listener.getsockname(), limit=1024)
        writer.write(ASKED)
        writer.transport.pause_reading()
        async with asyncio.timeout(8):
            while not web.server_state.connections:
                await asyncio.sleep(0.01)
            while web.server_state.connections:
                await asyncio.sleep(0.01)
        writer.transport.abort()
        web.should_exit = True
        await running

    asyncio.run(ended())


def test_a_model_that_still_runs_does_not_keep_the_process():
    code = (
        "import threading, time; from tfnlp import serve; serve._PATIENCE = 0.2; "
        "threading.Thread(target=time.sleep, args=(60,)).start(); serve._leave()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30)
    assert ended.returncode == 0
    assert b"while a model was running" in ended.stderr


def test_no_websocket_is_opened():
    service = Service(None, None, Rules())
    sock = connections.Listener(sockets.listen("127.0.0.1", 0, "--port"), 10, False)
    with contextlib.closing(sock):
        assert _web_server(service, Options(), sock).config.ws == "none"
