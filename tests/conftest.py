"""The options of the tests; pytest asks for them before it looks into the folders."""


def pytest_addoption(parser):
    group = parser.getgroup("serving")
    group.addoption(
        "--target",
        metavar="URL",
        help="run tests/serving against this REST server, a real TF Serving say, in place of "
        "`python -m tfnlp.serve`; it mounts what `python -m tests.serving.models FOLDER` writes, "
        "which prints how to start it",
    )
    group.addoption(
        "--target-grpc",
        metavar="HOST:PORT",
        help="the same server's gRPC address (default: --target's host, port 8500)",
    )
