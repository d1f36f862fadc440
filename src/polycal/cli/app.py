"""The application ``polycal``: its commands, and the message that it prints if one fails."""

import gc
import os

import typer

from polycal import errors
from polycal.artifacts import files
from polycal.cli import (
    audit_commands,
    configfile,
    export_command,
    import_command,
    self_check_command,
    show_command,
    stage_commands,
    standalone,
    study_commands,
)
from polycal.errors import PolycalError
from polycal.vocabulary import NO_RETRY

app = typer.Typer(
    cls=configfile.Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="How instruction tuning changes the calibration of language models across languages.",
)
study_commands.add_to(app)
audit_commands.add_to(app)
standalone.add_to(app)
import_command.add_to(app)
export_command.add_to(app)
self_check_command.add_to(app)
show_command.add_to(app)
stage_commands.add_to(app, without=standalone.COMMANDS)


OWNER = "work as the user who owns the folder, or let its group write there."
"""The remedy for a file that the user may not read or write."""


def _is_user_error(error: Exception) -> bool:
    """Whether a user can correct the cause of an error, so that its message is enough.

    The packages metrics and losses import nothing of polycal and raise ValueError; all others raise PolycalError.
    """
    in_library = type(error) is ValueError and _raised_in(error, ("polycal.metrics", "polycal.losses"))
    return isinstance(error, PolycalError) or in_library


def _raised_in(error: Exception, packages: tuple[str, ...]) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return name.startswith(packages)


def main() -> None:
    """Run a command. An error that a user can correct is printed as one sentence without a traceback."""
    try:
        app()
    except Exception as error:
        if files.is_disk_full(error):
            raise SystemExit(f"polycal: {files.disk_full_in_words(error)}") from None
        if isinstance(error, PermissionError) and error.filename:
            raise SystemExit(f"polycal: {error.filename}: {error.strerror}; {OWNER}") from None
        if not _is_user_error(error):
            raise
        job = os.environ.get("SLURM_JOB_ID")
        settled = f"\n{NO_RETRY.format(job)}" if job and errors.needs_a_person(error) else ""
        raise SystemExit(f"polycal: {error}{settled}") from None
    finally:
        # Close open Parquet streams: one that is left at exit aborts the interpreter (apache/arrow 45214).
        gc.collect()
