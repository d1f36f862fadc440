"""The command ``polycal``."""

from polycal.cli.app import main

__all__ = ["main"]
