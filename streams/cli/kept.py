"""What to say where nothing was found: since when and until when there is anything to find."""

from datetime import timedelta, tzinfo

import click
from click.core import ParameterSource

from streams.audit.kept import Kept
from streams.cli.options import data_flags
from streams.cli.period import local
from streams.model.instant import Instant, as_datetime


def elsewhen(kept: Kept | None, first: Instant, until: Instant, zone: tzinfo, name: str = "events") -> str:
    """Why [first, until) may be empty, and the period to ask about instead; empty where neither is known.

    `kept` is what the table has that was asked, `name` what that is called.
    """
    if kept is None:
        return f"no {name} are stored"
    if kept.newest < first:
        return f"the newest stored is of {local(kept.newest, zone)}. {_about(kept.newest, zone)}"
    if first < kept.oldest:
        said = f"{name} are kept from {local(kept.oldest, zone)}"
        return said if kept.oldest < until else f"{said}. {_about(kept.oldest, zone)}"
    return ""


def _about(at: Instant, zone: tzinfo) -> str:
    """The command that was typed, about the day of this instant."""
    day = as_datetime(at).astimezone(zone).date()
    context = click.get_current_context()
    typed = context.get_parameter_source("zone") == ParameterSource.COMMANDLINE
    flags = f"{f' --timezone {zone}' if typed else ''}{data_flags(context, context.params['data'])}"
    return f"Try: goaway {context.info_name} --from {day} --to {day + timedelta(days=1)}{flags}"
