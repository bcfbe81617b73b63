"""Postfix's log: each line becomes events, or is ignored for a reason that has a name, or can't be read.

Modules: `parser` (the entry), `line` (one line and the events made of it), `who` (the client, from the
places where only Postfix writes), `memory` (what is remembered between lines), `sessions`, `handover`
(postscreen to smtpd), `requests` (MAIL transactions counted once), `smtpd`, `postscreen`, `queue`
(cleanup, qmgr), `dnsblog`; of events, `ours`: whether we refused.
"""

from streams.wire.postfix.parser import LogParser
from streams.wire.postfix.result import Ignored, Result
from streams.wire.syslog import Header, Unreadable

__all__ = ["Header", "Ignored", "LogParser", "Result", "Unreadable"]
