"""python -m tfnlp.serve: SavedModels by TF Serving's protocol, for development and small loads."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.errors import UserError, reason
from tfnlp import needs
from tfnlp.needs import Need
from tfnlp.options import Parser, add_flags, make, option, values_of
from tfnlp.runtime import exit_status, precision

TOKEN = "TFNLP_TOKEN"
_PATIENCE = 2.0  # seconds that threads have to end, once all is answered or --grace is over


@dataclass(frozen=True)
class Options:
    """How the server listens, and what it allows.

    Example::

        python -m tfnlp.serve saved_models --rest-port 8080 --batch-size 16
    """

    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 for all", minimum=1)
    rest_port: int = option(
        8501, "port of REST and the page; 0 is any that is free", minimum=0, maximum=65535
    )
    grpc_port: int = option(8500, "port of gRPC; 0 is any that is free", minimum=0, maximum=65535)
    poll: float = option(1.0, "between looks for new versions [s]", minimum=0.01)
    batch_size: int = option(32, "rows answered together, at most [rows]", minimum=1)
    batch_wait: float = option(
        0.0,
        "how long a request waits for others while the model is free [ms]",
        minimum=0,
        needs=Need(
            lambda known: known.batch_size > 1,
            "has no effect with --batch-size 1, where no request is answered with others",
            "raise --batch-size",
        ),
    )
    queue: int = option(1024, "rows that wait for a signature, at most [rows]", minimum=1)
    max_rows: int = option(
        16384,
        "of a request, at most; answered in pieces of --batch-size [rows]",
        minimum=1,
    )
    max_text: float = option(
        0.125, "of a row's text, and of rows answered together, at most [MiB]", minimum=0.001
    )
    threads: int = option(
        min(os.cpu_count() or 1, 8), "batches run at once; a core each, at most 8", minimum=1
    )
    timeout: float = option(60.0, "for an answer, at most [s]", minimum=0.001)
    grace: float = option(30.0, "for requests in progress at the end [s]", minimum=0)
    max_body: float = option(32.0, "of a request, at most [MiB]", minimum=0.001)
    precision: Literal["auto", "float32"] = option(
        "auto", "float32, or auto: with products in bfloat16 where the processor has them"
    )
    tls_certificate: str | None = option(None, "certificate, for https and gRPC", metavar="PEM")
    tls_key: str | None = option(None, "its key", metavar="PEM")
    token_file: str | None = option(
        None, f"bearer token that requests must show (or the variable {TOKEN})", metavar="FILE"
    )
    allow_host: tuple[str, ...] = option(
        (), "name that requests may have in their header Host", metavar="HOST"
    )
    allow_origin: tuple[str, ...] = option(
        (),
        "pages that may ask from elsewhere, such as https://example.org",
        metavar="ORIGIN",
    )
    open_metrics: bool = option(False, "show the counters without the token")
    trusted_ops: tuple[str, ...] = option(
        (), "op that a model may have although it reads or writes files", metavar="OP"
    )
    quiet: bool = option(False, "no log line for each request")


def main(argv: Sequence[str]) -> int:
    """Serve what the arguments name, until a signal."""
    parser = Parser(
        prog="python -m tfnlp.serve",
        description="Serve SavedModels by the protocol of TF Serving, REST and gRPC, with a page "
        "to try them at /.\nFor development, tests and small loads: for production see "
        "python -m tfnlp.deploy.",
        epilog="""examples:
  python -m tfnlp.serve saved_models/
  python -m tfnlp.serve models.config --rest-port 8080
  curl -d '{"instances": ["Who wrote Hamlet?"]}' http://127.0.0.1:8501/v1/models/trec:predict

New versions are loaded, warmed up, and take the traffic of the old one, which is unloaded when it
has answered; a version that cannot be loaded is refused, and the old one stays.""",
    )
    parser.add_argument("models", metavar="FOLDER", help="folder of models, or a models.config")
    add_flags(parser, "options", Options, "how it listens, and what it allows")
    flags = vars(parser.parse(list(argv)))
    run(Path(flags["models"]), make(Options, values_of(flags, "options"), "the command line"))
    _leave()
    return 0


def _leave() -> None:
    """End the process though a model still runs: TensorFlow lets no one interrupt it.

    Python itself would wait for its thread, and a service manager for Python.
    """
    end = time.monotonic() + _PATIENCE
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                print("warning: ended while a model was running", file=sys.stderr, flush=True)
                sys.stdout.flush()
                os._exit(0)


def run(models: Path, options: Options) -> None:
    """Serve until a signal.

    Args:
        models: a folder of models, or a models.config.
        options: everything else.

    Raises:
        UserError: a mistake in the arguments, or an address that is taken.

    Example::

        run(Path("saved_models"), Options(rest_port=0, quiet=True))
    """
    needs.check(options, options)
    token = _token(options.token_file)
    _check(models, options, token)
    import asyncio
    import logging

    from tfnlp.runtime.startup import quiet_start

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(exit_status.Labelled())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("tfnlp").setLevel(logging.INFO)
    with quiet_start():
        from tfnlp.api import why
        from tfnlp.serving import configuration, memory, server
        from tfnlp.serving.batching import Limits
        from tfnlp.serving.rules import Rules

        precision.start(options.precision, training=False)
    find = configuration.read if models.is_file() else configuration.find
    wanted = find(models)
    if not wanted and models.is_file():
        raise UserError(f"{models} lists no model")
    limits = Limits(
        options.batch_size,
        options.batch_wait / 1e3,
        options.queue,
        options.max_rows,
        int(options.max_text * 2**20),
        options.threads,
    )
    settings = server.Options(
        host=options.host,
        rest_port=options.rest_port,
        grpc_port=options.grpc_port,
        limits=limits,
        poll=options.poll,
        timeout=options.timeout,
        grace=options.grace,
        most=int(options.max_body * 2**20),
        rules=Rules(
            token, options.host, options.allow_host, options.allow_origin, options.open_metrics
        ),
        folders=tuple(w.folder for w in wanted) if models.is_file() else (models,),
        trusted=options.trusted_ops,
        certificate=_path(options.tls_certificate),
        key=_path(options.tls_key),
        quiet=options.quiet,
        explain=why.explain,
    )
    memory.settle()
    asyncio.run(server.serve(lambda: find(models), settings))


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


def _check(models: Path, options: Options, token: str | None) -> None:
    """Raise UserError for files that are missing; warn of a server that anyone can ask."""
    if bool(options.tls_certificate) != bool(options.tls_key):
        raise UserError("TLS takes both --tls-certificate and --tls-key")
    for name in (options.tls_certificate, options.tls_key):
        if name and not Path(name).is_file():
            raise UserError(f"there is no file {name}")
    if not models.exists():
        raise UserError(f"there is no {models} (give a folder of models, or a models.config)")
    from tfnlp.serving.rules import is_loopback

    if not is_loopback(options.host) and not (token and options.tls_certificate):
        fault = (
            "anyone may ask (use --token-file and TLS)"
            if not token
            else "the token can be read on the way (use --tls-certificate and --tls-key, or a "
            "proxy with TLS)"
        )
        print(
            f"warning: {options.host} can be reached from other machines, and {fault}",
            file=sys.stderr,
        )


def _token(file: str | None) -> str | None:
    """Return the token that requests must show.

    Raises:
        UserError: the file cannot be read or is empty, or no header can show the token.
    """
    if file is None:
        token, place = os.environ.get(TOKEN, ""), f"the variable {TOKEN}"
        if not token:
            return None
    else:
        place = file
        try:
            token = Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the token in {file}: {reason(error)}") from error
        if not token:
            raise UserError(f"{file} is empty; it must hold the token")
    if not re.fullmatch("[!-~]+", token):
        raise UserError(
            f"the token in {place} has a character that no header can show; write it in ASCII "
            "without spaces (such as the output of: openssl rand -hex 32)"
        )
    return token


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
