"""The application ``polycal``: its commands, and the message that it prints if one fails."""

import gc

import typer

from polycal.artifacts import files
from polycal.cli import (
    audit_commands,
    configfile,
    export_command,
    import_command,
    self_check_command,
    stage_commands,
    standalone,
    study_commands,
)
from polycal.errors import PolycalError

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
stage_commands.add_to(app, without=standalone.COMMANDS)


DISK_FULL = ("No space left on device", "Disk quota exceeded", "iostream error", "unexpected pos")
"""Words in the errors of safetensors and PyTorch, which write files themselves, if the disk is full."""


def _is_disk_full(error: Exception) -> bool:
    """Whether a file could not be written because the disk or the user's quota is full."""
    if isinstance(error, OSError):
        return files.is_disk_full(error)
    return type(error).__name__ in ("RuntimeError", "SafetensorError") and any(
        words in str(error) for words in DISK_FULL
    )


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
        if _is_disk_full(error):
            raise SystemExit(
                "polycal: the disk is full; make room and start again, finished results are kept."
            ) from None
        if not _is_user_error(error):
            raise
        raise SystemExit(f"polycal: {error}") from None
    finally:
        # Close open Parquet streams: one that is left at exit aborts the interpreter (apache/arrow 45214).
        gc.collect()
