"""Two months of a Postfix log, made line by line, with somebody for each kind of proposal."""

import random
from datetime import UTC, datetime, timedelta
from typing import Final

FIRST: Final = datetime(2026, 10, 1, tzinfo=UTC)
SECOND: Final = datetime(2026, 11, 1, tzinfo=UTC)
END: Final = datetime(2026, 12, 1, tzinfo=UTC)

PARTNER: Final = "192.0.2.10"
"""Delivers all day, both months, from mail.partner.example."""
MONITOR: Final = "192.0.2.20"
"""EHLO and QUIT every ten minutes."""
SCANNER: Final = "198.51.100.66"
"""Tries recipients in bursts; refused by the MTA and, from its tenth of an hour on, by Goaway."""
GREYLISTED: Final = "198.51.100.77"
"""Is deferred by greylisting and never comes back in time."""
GONE: Final = "203.0.113.5"
"""Delivers in October only."""
NEW: Final = "2001:db8:5::25"
"""Delivers from November on."""
BURST: Final = "203.0.113.99"
"""Delivers more than a thousand messages within one hour."""
CROWD: Final = tuple(f"203.0.113.{last}" for last in range(128, 136))
"""Eight neighbours that speak before they are greeted. Their /24 also holds GONE and BURST, who deliver."""
BOTNET: Final = tuple(f"198.18.7.{last}" for last in range(10, 16))
"""Six neighbours in a network from which nobody delivers."""
STALE_LIST: Final = "192.0.2.166"
"""Delivers in October; in November all of its recipients are unknown."""
EVIL: Final = '=HYPERLINK("http://x"),<script>alert(1)</script>\x1b[31m'
"""HELO name and sender of the scanner."""
RATE: Final = "Go away: exceeded connection rate limit"


class MonthLog:
    """The lines, sorted by time when taken."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._lines: list[tuple[datetime, int, str]] = []
        self._pid = 1000
        self._queue = 0

    def line(self, at: datetime, text: str, pid: int, service: str = "smtpd") -> None:
        stamp = at.isoformat(timespec="microseconds")
        self._lines.append((at, len(self._lines), f"{stamp} mx1 postfix/{service}[{pid}]: {text}"))

    def session(
        self,
        at: datetime,
        address: str,
        name: str = "unknown",
        *,
        messages: int = 0,
        counts: str = "",
        open_s: float = 1,
    ) -> None:
        """A connection; one that delivers so many messages where it is told to."""
        self._pid += 1
        pid, who = self._pid, f"{name}[{address}]"
        self.line(at, f"connect from {who}", pid)
        for number in range(messages):
            self._queue += 1
            queue_id, then = f"{self._queue:010X}", at + timedelta(milliseconds=20 * (number + 1))
            self.line(then, f"{queue_id}: client={who}", pid)
            self.line(
                then, f"{queue_id}: from=<anna@example.com>, size=2000, nrcpt=1 (queue active)", 9, "qmgr"
            )
        if not counts:
            counts = (
                f"ehlo=1 mail={messages} rcpt={messages} data={messages} quit=1 commands={2 + 3 * messages}"
            )
        self.line(at + timedelta(seconds=open_s), f"disconnect from {who} {counts}", pid)

    def refused(
        self,
        at: datetime,
        address: str,
        reply: str,
        *,
        stage: str = "RCPT",
        sender: str = "x@example.net",
        helo: str = EVIL,
    ) -> None:
        """A connection that is refused."""
        self._pid += 1
        pid, who = self._pid, f"unknown[{address}]"
        tail = (
            f"; from=<{sender}> to=<nobody@example.org> proto=ESMTP helo=<{helo}>" if stage == "RCPT" else ""
        )
        self.line(at, f"connect from {who}", pid)
        self.line(at + timedelta(milliseconds=5), f"NOQUEUE: reject: {stage} from {who}: {reply}{tail}", pid)
        self.line(
            at + timedelta(seconds=1),
            f"disconnect from {who} ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4",
            pid,
        )

    def pregreet(self, at: datetime, address: str) -> None:
        """A client that postscreen hears before it has greeted."""
        port = self._random.randrange(1024, 65000)
        self.line(at, f"CONNECT from [{address}]:{port} to [192.0.2.1]:25", 77, "postscreen")
        self.line(
            at + timedelta(seconds=1),
            f"PREGREET 11 after 0.1 from [{address}]:{port}: EHLO x",
            77,
            "postscreen",
        )
        self.line(at + timedelta(seconds=2), f"DISCONNECT [{address}]:{port}", 77, "postscreen")

    def text(self) -> bytes:
        return "".join(f"{line}\n" for _, _, line in sorted(self._lines)).encode()


def whole_log() -> bytes:
    """October and November."""
    log = MonthLog()
    for day in range((END - FIRST).days):
        _day(log, FIRST + timedelta(days=day))
    start = SECOND + timedelta(days=4, hours=3)
    for number in range(1200):
        log.session(start + timedelta(seconds=2.5 * number), BURST, "burst.example.net", messages=1)
    return log.text()


def _day(log: MonthLog, day: datetime) -> None:
    november = day >= SECOND
    for number in range(40):
        hour = 7 + number % 12
        log.session(
            day + timedelta(hours=hour, minutes=(number * 37) % 60, seconds=number),
            PARTNER,
            "mail.partner.example",
            messages=1 + number % 2,
        )
    for number in range(144):
        log.session(
            day + timedelta(minutes=10 * number, seconds=7),
            MONITOR,
            "probe.monitor.example",
            counts="ehlo=1 quit=1 commands=2",
            open_s=0.2,
        )
    if not november:
        for number in range(12):
            log.session(day + timedelta(hours=number, minutes=13), GONE, "old.example", messages=1)
        log.session(day + timedelta(hours=9, minutes=51), STALE_LIST, "list.example", messages=10)
        return
    for number in range(10):
        log.session(day + timedelta(hours=8 + number, minutes=31), NEW, "new.example", messages=1)
    for number in range(day.day % 7 * 3):
        at = day + timedelta(hours=2, seconds=3.7 * number)
        if number < 10:
            log.refused(
                at,
                SCANNER,
                "550 5.1.1 <nobody@example.org>: Recipient address rejected: User unknown",
                sender=EVIL,
            )
        else:
            log.refused(
                at,
                SCANNER,
                f"551 5.7.1 <unknown[{SCANNER}]>: Client host rejected: {RATE}",
                stage="CONNECT",
            )
    for number in range(5):
        log.refused(
            day + timedelta(hours=9, minutes=10 * number + 3),
            STALE_LIST,
            "550 5.1.1 <nobody@example.org>: Recipient address rejected: User unknown",
        )
    for number in range(4):
        log.refused(
            day + timedelta(hours=5 * number + 1),
            GREYLISTED,
            "451 4.7.1 <nobody@example.org>: Recipient address rejected: Go away: greylisted, retry in 600 s",
        )
    if day.day % 3 == 0:
        log.refused(
            day + timedelta(hours=20),
            "198.51.100.88",
            "571 5.7.1 <x@example.net>: Sender address rejected: Go away: IP listed in DNSBL: [Spamhaus]",
        )
    for address in (*CROWD, *BOTNET):
        for number in range(4):
            log.pregreet(
                day + timedelta(hours=3 * number + 1, seconds=int(address.rpartition(".")[2])), address
            )
