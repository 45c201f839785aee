"""python -m tfnlp.serve: SavedModels by TF Serving's protocol, for development and small loads."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import UserError, reason
from tfnlp.options import Parser
from tfnlp.runtime import exit_status, precision

TOKEN = "TFNLP_TOKEN"


def parser() -> Parser:
    """Return the command's options."""
    parser = Parser(
        prog="python -m tfnlp.serve",
        description="Serve SavedModels by the protocol of TF Serving, REST and gRPC, with a page "
        "to try them at /. For development, tests and small loads: for production see "
        "python -m tfnlp.deploy.",
        epilog="""examples:
  python -m tfnlp.serve saved_models/
  python -m tfnlp.serve models.config --rest-port 8080
  curl -d '{"instances": ["Who wrote Hamlet?"]}' http://127.0.0.1:8501/v1/models/trec:predict

New versions are loaded, warmed up, and take the traffic of the old one, which is let go when it has
answered; a version that cannot be loaded is refused, and the old one goes on.""",
    )
    add = parser.add_argument
    add("models", metavar="FOLDER", type=Path, help="folder of models, or a models.config")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (127.0.0.1)")
    add("--rest-port", type=int, default=8501, help="port of REST and the page; 0 is any (8501)")
    add("--grpc-port", type=int, default=8500, help="port of gRPC; 0 is any (8500)")
    add("--poll", type=float, default=1.0, help="between looks for new versions [s] (1)")
    add("--batch-size", type=int, default=32, help="rows answered together, at most (32)")
    add(
        "--batch-wait",
        type=float,
        default=0.0,
        help="how long a request waits for others while the model is free [ms] (0)",
    )
    add("--queue", type=int, default=1024, help="rows that wait for a signature, at most (1024)")
    add(
        "--threads",
        type=int,
        default=min(os.cpu_count() or 1, 8),
        help="batches at work at once (a core each, at most 8)",
    )
    add("--timeout", type=float, default=60.0, help="for an answer, at most [s] (60)")
    add("--grace", type=float, default=30.0, help="for requests at work at the end [s] (30)")
    add("--max-body", type=float, default=32.0, help="of a request, at most [MiB] (32)")
    add(
        "--precision",
        choices=("auto", "float32"),
        default="auto",
        help="float32, or auto: with products in bfloat16 where the processor has them (auto)",
    )
    add("--tls-certificate", type=Path, metavar="PEM", help="certificate, for https and gRPC")
    add("--tls-key", type=Path, metavar="PEM", help="its key")
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"bearer token that requests must show (or the variable {TOKEN})",
    )
    add("--quiet", action="store_true", help="no log line for each request")
    return parser


def run(args: argparse.Namespace) -> None:
    """Serve until a signal.

    Raises:
        UserError: a mistake in the arguments, or an address that is taken.
    """
    token = _token(args.token_file)
    _check(args, token)
    import asyncio
    import logging

    from tfnlp.runtime.startup import quiet_start

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("tfnlp").setLevel(logging.INFO)
    with quiet_start():
        from tfnlp.serving import configuration, server
        from tfnlp.serving.batching import Limits

        precision.start(args.precision, training=False)
    find = configuration.read if args.models.is_file() else configuration.find
    if not find(args.models) and args.models.is_file():
        raise UserError(f"{args.models} lists no model")
    options = server.Options(
        host=args.host,
        rest_port=args.rest_port,
        grpc_port=args.grpc_port,
        limits=Limits(args.batch_size, args.batch_wait / 1e3, args.queue, args.threads),
        poll=args.poll,
        timeout=args.timeout,
        grace=args.grace,
        most=int(args.max_body * 2**20),
        token=token,
        certificate=args.tls_certificate,
        key=args.tls_key,
        quiet=args.quiet,
    )
    asyncio.run(server.serve(lambda: find(args.models), options))


def _check(args: argparse.Namespace, token: str | None) -> None:
    """Raise UserError for arguments that cannot be."""
    for name in ("batch_size", "queue", "threads", "timeout", "max_body", "poll"):
        if getattr(args, name) <= 0:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)} must be above 0")
    for name in ("batch_wait", "grace"):
        if getattr(args, name) < 0:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)} is below 0")
    for name in ("rest_port", "grpc_port"):
        if not 0 <= getattr(args, name) < 2**16:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)} is no port")
    if bool(args.tls_certificate) != bool(args.tls_key):
        raise UserError("TLS takes both --tls-certificate and --tls-key")
    for path in (args.tls_certificate, args.tls_key):
        if path and not path.is_file():
            raise UserError(f"there is no file {path}")
    if not args.models.exists():
        raise UserError(f"there is no {args.models} (give a folder of models, or a models.config)")
    if args.host not in ("127.0.0.1", "localhost", "::1") and not token:
        print(
            f"warning: {args.host} can be reached from other machines, and anyone may ask "
            "(use --token-file and TLS)",
            file=sys.stderr,
        )


def _token(file: Path | None) -> str | None:
    """Return the token that requests must show.

    Raises:
        UserError: the file cannot be read, or is empty.
    """
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the token in {file}: {reason(error)}") from error
    if not token:
        raise UserError(f"{file} is empty; it must hold the token")
    return token


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    run(parser().parse(list(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
