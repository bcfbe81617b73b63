"""Pages where the user wants them: `--html FILE`."""

from pathlib import Path

import click

from streams.errors import UnavailableError


def check_page(file: Path | None) -> None:
    """`UnavailableError` where no page could be written: said before the work rather than after it."""
    if file is not None and not file.parent.is_dir():
        raise UnavailableError(f"{file}: there is no folder {file.parent}", try_next=f"mkdir {file.parent}")


def write_page(file: Path, content: str) -> None:
    """Write a page where the user wants it."""
    try:
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{file}: {error.strerror}", try_next=f"ls -ld {file.parent}") from error
    click.echo(f"written: {file}", err=True)
