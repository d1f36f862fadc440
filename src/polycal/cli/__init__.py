"""The command line."""

from polycal.cli.app import main

__all__ = ["main"]
