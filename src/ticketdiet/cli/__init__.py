"""The command line. Nothing heavy is imported before a command needs it, so that ``--help`` answers at once."""

from ticketdiet.cli.main import main

__all__ = ["main"]
