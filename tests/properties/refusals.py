"""Refusals as Postfix logs them, with whatever the client wrote: by our answer, or by the MTA's own rules."""

from typing import Final
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from streams.model.policy import Replies
from streams.wire.postfix import LogParser

_REPLIES: Final = Replies()
ANSWERS: Final = {
    f"{_REPLIES.opening}: {_REPLIES.rate}": "rate",
    f"{_REPLIES.opening}: {_REPLIES.reputation}: [Spamhaus]": "reputation",
    f"{_REPLIES.opening}: {_REPLIES.greylist}": "greylist",
    f"{_REPLIES.opening}: {_REPLIES.greylisted} 600 s": "greylist",
    f"{_REPLIES.opening}: {_REPLIES.protocol}: missing HELO": "protocol",
    f"{_REPLIES.opening}: {_REPLIES.blocklist}: ticket 42": "blocklist",
    f"{_REPLIES.opening}: texts have changed": "other",
}
"""What the shim answers → trigger."""
_WHO: Final = "mail.example.com[192.0.2.5]"
_CODES: Final = ("551 5.7.1", "571 5.7.1", "451 4.7.1", "421 4.7.1", "554 5.7.1")
_OWN_HELO: Final = (
    "504 5.5.2 <{}>: Helo command rejected: need fully-qualified hostname",
    "501 5.5.2 <{}>: Helo command rejected: Invalid name",
    "450 4.7.1 <{}>: Helo command rejected: Host not found",
    "554 5.7.1 Service unavailable; Helo command [{}] blocked using dbl.example",
)
_OWN_SENDER: Final = (
    "450 4.1.8 <{}>: Sender address rejected: Domain not found",
    "451 4.3.0 <{}>: Temporary lookup failure",
    "554 5.7.1 Service unavailable; Sender address [{}] blocked using dbl.example",
)
_OWN_RECIPIENT: Final = (
    "554 5.7.1 <{}>: Relay access denied",
    "550 5.1.1 <{}>: Recipient address rejected: User unknown in virtual alias table",
    "451 4.3.0 <{}>: Temporary lookup failure",
)
_CUT: Final = 510
"""smtpd_check_reject() truncates the text at so many bytes."""
_FORGING: Final = (
    *ANSWERS,
    *("x", "a", " ", "<", ">", '"', "\\", ":", ">: ", "é", "A" * 90, "A" * 400),
    *("Helo command rejected: ", "Recipient address rejected: ", "Client host rejected: ", "rejected: "),
    *(
        "Go away: ",
        "Go away",
        "Go",
        "away",
        "551 5.7.1 ",
        f"<{_WHO}>: ",
        _WHO,
        "; from=<",
        "; to=<",
        "; proto=",
        " proto=",
    ),
    *("proto=SMTP", " helo=<", "helo=<", "> sasl_", "> sasl_method=x", "from=<", "> to=<", ">, to=<", "to=<"),
    *(">: Helo command rejected: ", ">: Recipient address rejected: ", ">: Sender address rejected: "),
)


def event_of(body: str, stage: str) -> Event:
    """What the parser makes of a refusal's line."""
    line = (
        f"2026-11-24T13:04:44.370794+00:00 mx1 postfix/smtpd[7]: NOQUEUE: reject: {stage} from {_WHO}: {body}"
    )
    read = LogParser(zone=ZoneInfo("UTC"), reference=Instant(parse_instant("2026-12-31T00:00:00Z")))
    found = read.read(line.encode())
    assert isinstance(found, list)
    return found[-1]


def _at_helo(reply: str, helo: str) -> Event:
    """With `smtpd_delay_reject = no` a HELO name is judged, and logged, as the client wrote it."""
    return event_of(f"{_cut(reply)}; proto=SMTP helo=<{helo}>", "HELO")


def _at_rcpt(reply: str, sender: str, recipient: str, helo: str, *, external: bool) -> Event:
    """`external`: `info_log_addr_form`; local parts are quoted then."""
    shown = [_external(it) if external else it for it in (sender, recipient)]
    tail = f"from=<{shown[0]}> to=<{shown[1]}> proto=ESMTP helo=<{_neutered(helo)}>"
    return event_of(f"{_cut(reply)}; {tail}", "RCPT")


def _cut(reply: str) -> str:
    return reply.encode()[:_CUT].decode(errors="ignore")


def _neutered(helo: str) -> str:
    """smtpd's NEUTER_CHARACTERS."""
    return "".join("?" if it in ' <>()\\";@' else it for it in helo)


def _external(address: str) -> str:
    local, at, domain = address.rpartition("@")
    if not any(it in local for it in ' <>()\\";:,'):
        return address
    quoted = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"{at}{domain}'


_WORDS: Final = st.lists(st.sampled_from(_FORGING), max_size=5).map("".join)
_CLASSES: Final = st.sampled_from(["Helo command", "Recipient address", "Client host"])
FORGED: Final = st.lists(st.sampled_from(_FORGING), min_size=1, max_size=9).map("".join) | st.builds(
    "{}>: {} rejected: {}{}".format, _WORDS, _CLASSES, st.sampled_from([*ANSWERS]), _WORDS
)
"""What a client writes who knows all of this."""
_ADDRESSES: Final = st.builds("{}@example.com".format, FORGED) | st.just("anna@example.org")
HONEST: Final = st.text("abcxyz0189.-_+[]: éß", min_size=1, max_size=60).map(str.strip).filter(bool)


@st.composite
def not_ours(draw: st.DrawFn) -> Event:
    """A refusal by a rule of the MTA's own."""
    helo, sender, recipient = draw(FORGED), draw(_ADDRESSES), draw(_ADDRESSES)
    if draw(st.booleans()):
        return _at_helo(draw(st.sampled_from(_OWN_HELO)).format(helo), helo)
    written, replies = draw(
        st.sampled_from(
            [(_neutered(helo), _OWN_HELO), (sender, _OWN_SENDER), (recipient, _OWN_RECIPIENT)],
        )
    )
    reply = draw(st.sampled_from(replies)).format(written)
    return _at_rcpt(reply, sender, recipient, helo, external=draw(st.booleans()))


@st.composite
def ours(draw: st.DrawFn) -> tuple[Event, str]:
    """A refusal by our answer, and its trigger."""
    helo, sender, recipient = draw(HONEST), f"{draw(HONEST)}@example.com", f"{draw(HONEST)}@example.org"
    code, answer = draw(st.sampled_from(_CODES)), draw(st.sampled_from([*ANSWERS]))
    stage = draw(st.sampled_from(["CONNECT", "HELO", "RCPT"]))
    if stage == "CONNECT":
        reply = f"{code} <{_WHO}>: Client host rejected: {answer}"
        return event_of(f"{reply}; proto=SMTP", stage), ANSWERS[answer]
    if stage == "HELO":
        return _at_helo(f"{code} <{helo}>: Helo command rejected: {answer}", helo), ANSWERS[answer]
    named = draw(
        st.sampled_from(
            [
                (_WHO, "Client host"),
                (_neutered(helo), "Helo command"),
                (sender, "Sender address"),
                (recipient, "Recipient address"),
                ("DATA", "Data command"),
                ("END-OF-MESSAGE", "End-of-data"),
            ]
        )
    )
    reply = f"{code} <{named[0]}>: {named[1]} rejected: {answer}"
    return _at_rcpt(reply, sender, recipient, helo, external=draw(st.booleans())), ANSWERS[answer]
