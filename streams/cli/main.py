"""`goaway`: the group of all commands, and the one handler of expected errors."""

import errno
import logging
import os
import sys
from importlib import import_module
from typing import Final

import click

from streams import __version__
from streams.errors import GoawayError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "up": ("up", "Run the whole pipeline on this machine."),
    "status": ("status", "What runs, what waits, who is refused."),
    "doctor": ("doctor", "What is reachable, what is missing, what to change in Postfix."),
    "bundle": ("bundle", "Gather what a helper needs in one file, secrets removed."),
    "ship": ("stages", "Follow MTA logs into Kafka."),
    "worker": ("stages", "Decide: events in, decisions out."),
    "shim": ("stages", "Answer Postfix from the decisions."),
    "sink": ("stages", "Store events and decisions in ClickHouse."),
    "parse": ("parse", "Turn log lines into JSON events."),
    "replay": ("replay", "Run a history through the engine; compare two policies on it."),
    "capacity": ("capacity", "Partitions, workers, disk and memory that your traffic needs."),
    "shadow": ("shadow", "Try a policy beside the one in force; it refuses nobody."),
    "tune": ("tune", "Choose limits on history."),
    "policy": ("policy", "Look at the policy, change it, see who changed it."),
    "allow": ("policy_commands", "Have every module let an address or network alone."),
    "deny": ("policy_commands", "Refuse an address or network."),
    "exempt": ("policy_commands", "Have one module let an address or network alone."),
    "suspend": ("policy_commands", "Have a module judge nobody for a while."),
    "resume": ("policy_commands", "End a suspension."),
    "unblock": ("clients", "Let an address in now, and say how its block may come back."),
    "forget": ("clients", "Drop all that is remembered of an address."),
    "explain": ("explain", "What holds for an address, what stands against it, what would help."),
    "search": ("search", "Find what was logged and decided, and open it."),
    "stats": ("stats", "Count what clients did, over any period."),
    "audit": ("audit", "A month reviewed: whom to exempt, whom to block, what is stale."),
    "dashboards": ("dashboards", "Grafana dashboards and alert rules; a preview without Grafana."),
    "greylist": ("greylist", "Teach greylisting who delivers."),
    "reputation": ("reputation", "Ask DNSBLs about who connects, and watch partners."),
    "notify": ("notify", "Tell people of warnings, blocks and trouble."),
    "topics": ("topics", "Create and show the Kafka topics."),
    "db": ("db", "Create and show the ClickHouse tables."),
}
"""Command → (module of `streams.cli` that has it, what it does). A module is imported when it is called, so
that `goaway --help` and `goaway parse` do not wait for Kafka's and Faust's imports."""

SECTIONS: Final[dict[str, tuple[str, ...]]] = {
    "Run it": ("up", "status", "doctor", "bundle"),
    "Who is refused, and why": (
        "explain",
        "unblock",
        "exempt",
        "allow",
        "deny",
        "suspend",
        "resume",
        "forget",
    ),
    "The policy": ("policy", "shadow", "tune", "replay", "greylist", "capacity"),
    "What happened": ("search", "stats", "audit", "dashboards"),
    "Stages": ("ship", "worker", "shim", "sink", "reputation", "notify"),
    "Set up, look inside": ("topics", "db", "parse"),
}
"""How `goaway --help` shows them; one that is in none is shown last."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"streams.cli.{COMMANDS[cmd_name][0]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        left = dict(COMMANDS)
        for title, names in SECTIONS.items():
            rows = [(name, left.pop(name)[1]) for name in names if name in left]
            with formatter.section(title):
                formatter.write_dl(rows)
        if left:
            with formatter.section("More"):
                formatter.write_dl([(name, what) for name, (_, what) in left.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1, cutoff=0.7)
            advice = f"goaway {near[0]}" if near else "goaway --help"
            raise click.UsageError(f"no such command: {args[0][:64]!r}. Try: {advice}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="goaway")
def goaway() -> None:
    """A guard for a mail server's front door.

    MTA logs become events in Kafka; agents decide who is told to go away, for how long and why; the shim
    answers Postfix. Start with: goaway up --sample
    """


FAULT: Final = 70
"""Exit code of an error that nobody expected (EX_SOFTWARE of sysexits.h)."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _not_written(error: OSError) -> int:
    """The exit code where an answer could not be written, its reason printed; a reader that went away needs
    none. Any other error is raised again."""
    if error.errno != errno.EPIPE and (error.errno not in _FULL or error.filename is not None):
        raise error
    # what is left in its buffer would fail once more when Python ends
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    if error.errno == errno.EPIPE:
        return 1
    click.secho(f"goaway: the output cannot be written ({error.strerror}). Try: df -h", fg="red", err=True)
    return 4


def _named(arguments: list[str]) -> list[str]:
    """The command that these arguments name, with the groups it is in."""
    context, names = click.Context(goaway), ["goaway"]
    command: click.Command = goaway
    for argument in arguments:
        found = command.get_command(context, argument) if isinstance(command, click.Group) else None
        if found is None:
            break
        names.append(argument)
        command = found
    return names


def main() -> None:
    """Run; a fault of our own ends with its traceback, and never with 1, which is an answer."""
    try:
        _run()
    except Exception:
        import traceback

        traceback.print_exc()
        sys.exit(FAULT)


def _run() -> None:
    """Turn expected errors into one line and an exit code."""
    # the driver logs a traceback for a server that is away; what is wrong is said in one line below
    logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)
    try:
        code = goaway.main(standalone_mode=False)  # click returns the code of an Exit
        if sys.stdout is not None:
            sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is None and "Try: " not in error.message:
            # of an option that lacks its argument click does not say whose it is
            error.message += f" Try: {' '.join(_named(sys.argv[1:]))} -h"
        error.show()
        sys.exit(error.exit_code)
    except GoawayError as error:
        from streams.wire.policy_words import escaped

        said = "\n".join(map(escaped, str(error).split("\n")))
        click.secho(f"goaway: {said}", fg="red", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except OSError as error:
        sys.exit(_not_written(error))
