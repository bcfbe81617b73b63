"""Goaway: a guard for a mail server's front door. The layers are described in ARCHITECTURE.md."""

__version__ = "0.1.0"
