"""Record the project's sample log and the parser's sample lines from a private, real Postfix.

One command, as root, from the top of the repository: `python -m deploy.sample.record`
(`--lines` records the sample lines only, `--sample` the sample only).
"""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from deploy.sample.journal import Journal
from deploy.sample.people import KNOWN_RECIPIENTS, NAMES, Stage
from deploy.sample.situations import DATA, HELLO, MAIL, REFUSED, SITUATIONS, Situation, says
from deploy.sample.story import tell
from tests.e2e.postfix import PostfixLab, why_not
from tests.e2e.postfix_setup import Setup

TOP: Final = Path(__file__).parents[2]
SAMPLE: Final = TOP / "streams" / "embedded" / "sample" / "mail.log.gz"
LINES: Final = TOP / "tests" / "cases" / "postfix-lines"


@contextmanager
def recording(setup: Setup) -> Iterator[tuple[PostfixLab, Journal]]:
    """A Postfix whose log goes to a journal."""
    lab = PostfixLab(replace(setup, log_elsewhere=True))
    lab.prepare()
    ports = {lab.ports.smtp: 25, lab.ports.postscreen: 25, lab.ports.submission: 587, lab.ports.smtps: 465}
    with Journal(lab.where, ports) as journal, lab:
        yield lab, journal


def record_sample() -> None:
    """Write the sample: twenty minutes in the life of a small mail server."""
    with recording(Setup(recipients=KNOWN_RECIPIENTS, names=NAMES)) as (lab, journal):
        journal.take()
        tell(Stage(lab), journal)
        lines = journal.take()
    SAMPLE.parent.mkdir(parents=True, exist_ok=True)
    SAMPLE.write_bytes(gzip.compress(b"\n".join(lines) + b"\n", 9, mtime=0))
    sys.stderr.write(f"{SAMPLE.relative_to(TOP)}: {len(lines)} lines, {SAMPLE.stat().st_size} bytes\n")


def record_lines() -> None:
    """Write one file for each situation; situations with the same setup share one Postfix."""
    LINES.mkdir(parents=True, exist_ok=True)
    setups: dict[str, list[Situation]] = {}
    for situation in SITUATIONS:
        setups.setdefault(repr(situation.setup), []).append(situation)
    for shared in setups.values():
        with recording(shared[0].setup) as (lab, journal):
            journal.take()
            for situation in shared:
                situation.play(lab)
                journal.settle()
                text = [f"# {situation.title}".encode(), *journal.take()]
                (LINES / f"{situation.name}.log").write_bytes(b"\n".join(text) + b"\n")
                sys.stderr.write(f"{situation.name}: {len(text) - 1} lines\n")


def record_classic_lines() -> None:
    """One file as Postfix itself writes it (`maillog_file`): classic time stamps, addresses untouched."""
    with PostfixLab(Setup(recipients=("anna",))) as lab:
        says(*HELLO, *MAIL, *DATA, *REFUSED, source="127.0.0.5")(lab)
        log = lab.wait_for_log("disconnect from")
    (LINES / "maillog-file-classic.log").write_text(
        "# Postfix's own maillog_file: classic time stamps without a year or fractions\n"
        + log.replace(str(lab.where.config), "/etc/postfix")
    )


def main(arguments: list[str]) -> int:
    """Exit code 5 where no private Postfix can run."""
    if reason := why_not():
        sys.stderr.write(f"Nothing recorded: {reason}\n")
        return 5
    if "--sample" not in arguments:
        record_lines()
        record_classic_lines()
    if "--lines" not in arguments:
        record_sample()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
