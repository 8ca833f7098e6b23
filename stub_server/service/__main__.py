"""Command line of the reference ingestion service: ``migrate``, ``serve``, ``defects``.

Database addresses come only from the environment: DATABASE_URL (the runtime role), MIGRATION_DATABASE_URL (the
owner). Exit codes: 0, 64 usage, 69 port or database, 70 fault of the service, 78 configuration; one line on stderr
says why.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from stub_server.service.config import Config, load_config, required_variable
from stub_server.service.errors import ServiceError
from stub_server.service.schema import migrate as migrate_schema
from stub_server.service.supervisor import ServePlan, supervise
from stub_server.service.switches import ServiceDefect, parse_defects

EXIT_USAGE = 64

config_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="TOML file; default: the reference contract."
)
defect_option = click.option("--defect", "defects", multiple=True, help="Start with this defect (repeatable).")
log_option = click.option(
    "--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), show_default=True
)


@click.group(help=__doc__)
def cli() -> None:
    """Group of the verbs."""


@cli.command()
@config_option
@defect_option
def migrate(config_file: Path | None, defects: Sequence[str]) -> None:
    """Bring the database to the configured schema. It may run any number of times, also at the same time."""
    owner_dsn = required_variable("MIGRATION_DATABASE_URL", "the address of the owner's database")
    migrate_schema(_config(config_file), owner_dsn, _runtime_dsn(), parse_defects(defects))


@cli.command()
@config_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, type=click.IntRange(0, 65535), show_default=True, help="0: a free one.")
@click.option("--processes", default=2, type=click.IntRange(1, 64), show_default=True)
@defect_option
@log_option
def serve(
    config_file: Path | None, host: str, port: int, processes: int, defects: Sequence[str], log_level: str
) -> None:
    """Serve until SIGTERM or SIGINT."""
    _log_to_stderr(log_level)
    config = _config(config_file)
    _runtime_dsn()  # fail here, once, not in every process
    options = ["--log-level", log_level]
    options += ["--config", str(config_file)] if config_file else []
    parsed = parse_defects(defects)
    for defect in sorted(parsed):
        options += ["--defect", defect]
    supervise(ServePlan(config, host, port, processes, options, ServiceDefect.TAKES_OTHERS_DOWN not in parsed))


@cli.command(hidden=True)
@config_option
@click.option("--process", required=True, type=int)
@click.option("--processes", required=True, type=int)
@click.option("--socket-fd", required=True, type=int)
@click.option("--board-fd", required=True, type=int)
@defect_option
@log_option
def worker(
    config_file: Path | None,
    process: int,
    processes: int,
    socket_fd: int,
    board_fd: int,
    defects: Sequence[str],
    log_level: str,
) -> None:
    """One serving process; started by ``serve`` alone."""
    from stub_server.service.worker import Task, serve_forever  # here: the others need no HTTP server

    _log_to_stderr(log_level, f" {process}")
    serve_forever(
        Task(
            config=_config(config_file),
            dsn=_runtime_dsn(),
            process=process,
            processes=processes,
            socket_descriptor=socket_fd,
            board_descriptor=board_fd,
            defects=parse_defects(defects),
        )
    )


@cli.command()
def defects() -> None:
    """List the defects, one on each line."""
    for defect in ServiceDefect:
        click.echo(defect)


def _config(file: Path | None) -> Config:
    return load_config(file) if file else Config()


def _runtime_dsn() -> str:
    return required_variable("DATABASE_URL", "the address of the service's database")


def _log_to_stderr(level: str, process: str = "") -> None:
    logging.basicConfig(
        level=level.upper(),
        format=f"%(asctime)s %(levelname)s service{process} %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # At level info the pool logs every connection that is taken and given back.
    logging.getLogger("psycopg.pool").setLevel(max(logging.getLogger().level, logging.WARNING))


def main() -> int:
    """Run the command line; the exit code. No traceback for what the caller can correct."""
    try:
        cli.main(standalone_mode=False, prog_name="stub_server.service")
    except ServiceError as error:
        click.echo(f"stub_server.service: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except click.Abort:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
