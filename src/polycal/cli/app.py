"""The command ``polycal``: its commands and what it prints when one fails."""

import gc

import typer

from polycal.artifacts import files
from polycal.cli import (
    audit_commands,
    export_command,
    import_command,
    self_check_command,
    show_command,
    stage_commands,
    standalone,
    study_commands,
)
from polycal.errors import PolycalError

app = typer.Typer(
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


DISK_FULL = ("No space left on device", "Disk quota exceeded", "iostream error", "unexpected pos")
"""What libraries that write files by themselves, safetensors and PyTorch, say of a full disk."""


def _is_disk_full(error: Exception) -> bool:
    """Whether a file could not be written because the disk, or the user's quota, is full."""
    if isinstance(error, OSError):
        return files.is_disk_full(error)
    return type(error).__name__ in ("RuntimeError", "SafetensorError") and any(
        words in str(error) for words in DISK_FULL
    )


def _is_for_the_reader(error: Exception) -> bool:
    """Whether the message of an error says what a user should change.

    The losses and metrics stand alone and raise ValueError; all else raises PolycalError.
    """
    library = type(error) is ValueError and _raised_in(error, ("polycal.metrics", "polycal.losses"))
    return isinstance(error, PolycalError) or library


def _raised_in(error: Exception, packages: tuple[str, ...]) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return name.startswith(packages)


def main() -> None:
    """Run a command. What a user can mend is printed in one sentence without a traceback."""
    try:
        app()
    except Exception as error:
        if _is_disk_full(error):
            raise SystemExit(
                "polycal: the disk is full; make room and start again, finished results are kept."
            ) from None
        if not _is_for_the_reader(error):
            raise
        raise SystemExit(f"polycal: {error}") from None
    finally:
        # A Parquet stream that outlives the interpreter aborts it after the work is done (apache/arrow 45214).
        gc.collect()
