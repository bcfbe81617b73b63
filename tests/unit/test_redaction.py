"""What a mail log tells of people, logins and passwords, in the shapes that Postfix gives its lines."""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from streams.cli.known_secrets import any_of
from streams.cli.people import People
from streams.cli.redaction import MOST_LEARNT, REMOVED, Redaction

_SMTPD: Final = "Nov 24 10:00:00 mx1 postfix/smtpd[77]: "
_POSTSCREEN: Final = "Nov 24 10:00:00 mx1 postfix/postscreen[78]: "
_CLIENT: Final = "h.example.net[192.0.2.7]"
_SCREENED: Final = "[192.0.2.7]:47315"
_END: Final = r"\r\n"

WITH_ADDRESS: Final = (
    f"{_SMTPD}NOQUEUE: reject: RCPT from {_CLIENT}: 550 5.1.1 <§>: Recipient address rejected: User unknown;"
    " from=<§> to=<§> proto=ESMTP helo=<h.example.net>",
    f"{_SMTPD}NOQUEUE: reject: RCPT from {_CLIENT}:1234: 504 5.5.2 <§>: Sender address rejected: need"
    " fully-qualified address; from=<§> to=<§> proto=ESMTP helo=<h.example.net> sasl_username=<§>",
    f"{_POSTSCREEN}NOQUEUE: reject: RCPT from {_SCREENED}: 450 4.3.2 Service currently unavailable;"
    " from=<§>, to=<§>, proto=ESMTP, helo=<h.example.net>",
    f"{_SMTPD}4A1: client={_CLIENT}, sasl_method=PLAIN, sasl_username=§",
    f"{_SMTPD}4A1: client={_CLIENT}, sasl_method=PLAIN, sasl_username=§, sasl_sender=§, orig_client=unknown",
    f"{_SMTPD}warning: {_CLIENT}: SASL LOGIN authentication failed: (reason unavailable), sasl_username=§",
    f"{_SMTPD}warning: Illegal address syntax from {_CLIENT} in MAIL command: <§>",
    f"{_SMTPD}improper command pipelining after EHLO from {_CLIENT}: MAIL FROM:<§>{_END}RCPT TO:<§>{_END}",
    f"{_POSTSCREEN}COMMAND PIPELINING from {_SCREENED} after EHLO: MAIL FROM:<§>{_END}RCPT TO:<§>{_END}",
    f"{_SMTPD}< {_CLIENT}: MAIL FROM:<§> SIZE=100",
    "mx1 postfix/qmgr[9]: 4A1: from=<§>, size=202, nrcpt=1 (queue active)",
    "mx1 postfix/pickup[9]: 4A1: uid=1000 from=<§>",
    "mx1 postfix/qmgr[9]: 4A1: from=<§>, status=expired, returned to sender",
    "mx1 postfix/smtp[9]: 4A1: to=<§>, orig_to=<§>, relay=mx.example.org[192.0.2.9]:25, delay=1, dsn=5.1.1,"
    " status=bounced (host mx.example.org[192.0.2.9] said: 550 5.1.1 <§>: no such user (in reply to RCPT TO"
    " command))",
    f"mx1 postfix/cleanup[9]: 4A1: milter-reject: END-OF-MESSAGE from {_CLIENT}: 5.7.1 Spam message rejected;"
    " from=<§> to=<§> proto=ESMTP helo=<h.example.net>",
    f"mx1 postfix/cleanup[9]: 4A1: warning: header From: <§> from {_CLIENT}; from=<§> to=<§> proto=ESMTP",
)
"""§ is an address, or a login."""
WITH_LOGIN: Final = (
    f"{_SMTPD}4A1: client={_CLIENT}, sasl_method=LOGIN, sasl_username=§",
    f"{_SMTPD}warning: {_CLIENT}: SASL PLAIN authentication failed: , sasl_username=§",
    f"{_SMTPD}NOQUEUE: reject: RCPT from {_CLIENT}: 553 5.7.1 <a@example.org>: Sender address rejected: not"
    " owned by user §; from=<a@example.org> to=<b@example.org> proto=ESMTP helo=<h> sasl_username=<§>",
    'mx1 postfix/local[9]: 4A1: to=<§>, orig_to=<§>, relay=local, status=bounced (unknown user: "§")',
    'mx1 postfix/pipe[9]: 4A1: to=<a@example.org>, relay=x, status=bounced (user unknown: "§")',
    "mx1 dovecot: imap-login: Login: user=<§>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1",
)
WITH_SECRET: Final = (
    f"{_SMTPD}improper command pipelining after EHLO from {_CLIENT}: AUTH LOGIN{_END}§{_END}§{_END}",
    f"{_SMTPD}improper command pipelining after AUTH from {_CLIENT}:1234: §{_END}§{_END}",
    f"{_POSTSCREEN}COMMAND PIPELINING from {_SCREENED} after EHLO: AUTH LOGIN{_END}§{_END}§{_END}",
    f"{_POSTSCREEN}COMMAND PIPELINING from {_SCREENED} after EHLO: AUTH PLAIN §{_END}",
    f"{_POSTSCREEN}COMMAND PIPELINING from {_SCREENED} after EHLO: NOOP{_END}auth plain §{_END}QUIT{_END}",
    f"{_POSTSCREEN}COMMAND PIPELINING from {_SCREENED} after AUTH: §{_END}",
    f"{_POSTSCREEN}PREGREET 40 after 0.1 from {_SCREENED}: EHLO x{_END}AUTH PLAIN §{_END}",
    f"{_POSTSCREEN}NON-SMTP COMMAND from {_SCREENED} after EHLO: §",
    f"{_POSTSCREEN}BARE NEWLINE from {_SCREENED} after AUTH PLAIN §",
    f"{_SMTPD}warning: non-SMTP command from {_CLIENT}: §",
    f"{_SMTPD}warning: non-SMTP command from {_CLIENT}: PASS §",
    f"{_SMTPD}warning: {_CLIENT}: request longer than 2048: AUTH PLAIN §...",
    f"{_SMTPD}< {_CLIENT}: AUTH PLAIN §",
    f"{_SMTPD}< {_CLIENT}: §",
    f"{_SMTPD}smtpd_sasl_authenticate: sasl_method PLAIN, init_response §",
    f"{_SMTPD}xsasl_cyrus_server_first: decoded initial response §",
    f"{_SMTPD}xsasl_cyrus_server_next: decoded response: §",
    "mx1 postfix/smtp[9]: > mx.example.org[192.0.2.9]:25: AUTH PLAIN §",
    "mx1 postfix/smtp[9]: smtp_sasl_passwd_lookup: host `mx.example.org' user `a' pass `§'",
    "mx1 dovecot: auth: passwd-file(a,192.0.2.7): Password mismatch (given password: §)",
)
"""§ is what a client sent to log in."""

_PRINTABLE: Final = st.characters(
    min_codepoint=33, max_codepoint=0x17F, exclude_characters="\x7f", exclude_categories=["C", "Z"]
)
LOCAL: Final = st.text(_PRINTABLE, min_size=4, max_size=40).filter(
    # one that is no part of the rest, and that is not itself what stands for a name
    lambda it: not it.startswith("person-") and it not in REMOVED
)
QUOTED_LOCAL: Final = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), min_size=4, max_size=40
).map(lambda it: f'"{it}"')


def cleaned(line: str, *, whole: bool = False) -> str:
    """A line as a bundle has it. Cleaning it once more changes nothing."""
    redaction = Redaction([], whole=whole)
    redaction.learn(line)
    clean = redaction.clean(line)
    assert redaction.clean(clean) == clean
    assert Redaction([], whole=whole).clean(clean) == clean
    return clean


def shows(line: str, name: str) -> bool:
    """Whether a line without § shows that by itself."""
    return name.lower() in line.replace("§", "").lower()


@pytest.mark.parametrize("line", WITH_ADDRESS)
@given(local=LOCAL | QUOTED_LOCAL)
@example("<script>alert(1)</script>")
@example("hans(mueller)")
@example("hans>)x")
@example("o'brien")
@example('"a b> to=<c@d> x"')
@example('"]: from=<q"')
@example('"anna, ben; from=<x> "')
@example("bounce+hans=ours.example")
def test_no_local_part_is_in_a_line(line: str, local: str) -> None:
    name = local.strip('" ')
    assume(len(name) > 3 and name not in REMOVED and not shows(line, name))
    clean = cleaned(line.replace("§", f"{local}@ours.example"))
    assert name not in clean, clean
    assert clean.startswith(line[:20])


@pytest.mark.parametrize("line", WITH_LOGIN)
@given(login=LOCAL)
@example("hans.mueller")
@example("o'brien")
@example("OURS\\hans")
def test_no_login_is_in_a_line(line: str, login: str) -> None:
    assume(not shows(line, login) and not login.startswith("@"))
    assert login not in cleaned(line.replace("§", login))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("line", WITH_SECRET)
@given(password=LOCAL)
@example("geheim123")
@example("correct'horse")
def test_no_password_is_in_a_line(line: str, whole: bool, password: str) -> None:
    for sent in (password, base64.b64encode(f"\0carla\0{password}".encode()).decode()):
        assume(not shows(line, sent) and len(sent.split(":")[0]) > 3)
        name = sent.partition(":")[0].rstrip("?").replace("-", "")
        assume(not name.isalpha() or len(name) > 11)  # it may be a verb, or a header's name
        clean = cleaned(line.replace("§", sent), whole=whole)
        assert sent not in clean, clean
        assert REMOVED in clean


@pytest.mark.parametrize("line", [*WITH_ADDRESS, *WITH_LOGIN])
def test_a_name_has_one_number_and_its_label_wherever_it_stands(line: str) -> None:
    redaction = Redaction([], whole=False)
    assert redaction.clean("from=<carla@ours.example>") == "from=<person-1@ours.example>"
    for name in ("carla@ours.example", "carla"):
        clean = redaction.clean(line.replace("§", name))
        assert "carla" not in clean
        for label in ("from=<", "to=<", "sasl_username=", "sasl_sender=", "user=<", "user: "):
            if f"{label}§" in line:
                assert f"{label}person-1" in clean.replace(f"{label}<", label).replace('"', ""), clean


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("sasl_username=carla@ours.example", "sasl_username=person-1@ours.example"),
        (
            "from=<carla@ours.example> sasl_username=carla",
            "from=<person-1@ours.example> sasl_username=person-1",
        ),
        (
            "<o'brien@ours.example> and o'brien@ours.example",
            "<person-1@ours.example> and person-1@ours.example",
        ),
        (
            'from=<"carla"@x.example>, to=<carla@y.example>',
            "from=<person-1@x.example>, to=<person-1@y.example>",
        ),
        ("to carla@x.example, (carla@y.example)", "to person-1@x.example, (person-1@y.example)"),
        ("for=bounce+carla=x.example@y.example", "person-1@y.example"),
        ('by = "hans"\nby = "goaway up"', 'by = "person-1"\nby = "goaway up"'),
        ("from=<carla@x.exam", "from=<person-1@x.exam"),
        (
            f"a non-SMTP command from {_CLIENT}: Subject: Merger of A and B",
            f"a non-SMTP command from {_CLIENT}: Subject: §",
        ),
        (
            f"command pipelining after DATA from {_CLIENT}: Dear A",
            f"command pipelining after DATA from {_CLIENT}: §",
        ),
        (f"non-SMTP command from {_CLIENT}: GET /?k=1 HTTP/1.1", f"non-SMTP command from {_CLIENT}: GET §"),
        (
            rf"PREGREET 9 after 0 from {_SCREENED}: DATA\r\nSubject: A\r\n\r\nB\r\n.\r\n",
            f"PREGREET 9 after 0 from {_SCREENED}: DATA §",
        ),
        (
            rf"COMMAND PIPELINING from {_SCREENED} after EHLO: AUTH LOGIN\r\nY2FybGE=\r\nZ2VoZWltMTIz\r\n",
            f"COMMAND PIPELINING from {_SCREENED} after EHLO: AUTH LOGIN §",
        ),
        (
            f"4A1: replace: header Subject: A from b[1] from {_CLIENT}; from=<> to=<> helo=<h>: Subject: C",
            f"4A1: replace: header § from {_CLIENT}; from=<> to=<> helo=<h>: §",
        ),
        (
            f"reject: mime-error improper use of 8-bit data: Subject: A from {_CLIENT}; from=<>",
            f"reject: mime-error improper use of 8-bit data: § from {_CLIENT}; from=<>",
        ),
        (
            "to=<anna@x.example>, status=bounced (host mx[192.0.2.9] said: 550 no Anna here)",
            "to=<person-1@x.example>, status=bounced (host mx[192.0.2.9] said: 550 no person-1 here)",
        ),
        ("http://u:c2'Vj@h.example.org:8443 failed", "http://h.example.org:8443/§ failed"),
        ("http://u:c2/Vj@h.example.org failed", "http://§/§ failed"),
        ("'http://h.example.org/a'b?k=c2Vj' failed", "'http://h.example.org/§' failed"),
    ],
)
def test_what_is_left_of_a_line(line: str, clean: str) -> None:
    assert cleaned(line) == clean.replace("§", REMOVED)


@pytest.mark.parametrize(
    "kept",
    [
        f"{_SMTPD}connect from {_CLIENT}",
        f"{_SMTPD}lost connection after AUTH from {_CLIENT}",
        f"{_SMTPD}disconnect from {_CLIENT} ehlo=1 auth=0/1 quit=1 commands=2/3",
        f"{_SMTPD}warning: AUTH command rate limit exceeded: 31 from {_CLIENT} for service smtpd",
        f"{_SMTPD}improper command pipelining after EHLO from {_CLIENT}: " + r"NOOP\r\nQUIT\r\n",
        f"{_SMTPD}> {_CLIENT}: 250-AUTH PLAIN LOGIN",
        f"{_SMTPD}NOQUEUE: reject: CONNECT from {_CLIENT}: 551 5.7.1 <{_CLIENT}>: Client host rejected: Go"
        " away: exceeded connection rate limit; proto=SMTP",
        f"{_POSTSCREEN}HANGUP after 0 from {_SCREENED} in tests before SMTP handshake",
        f"{_POSTSCREEN}PASS NEW {_SCREENED}",
        "mx1 dovecot: lmtp(12345): Connect from local",
        "mx1 postfix/smtp[9]: 4A1: host mx.example.org[192.0.2.9] said: 450 greylisted (in reply to RCPT)",
    ],
)
def test_what_a_helper_needs_stays(kept: str) -> None:
    assert cleaned(kept) == kept


def test_json_hides_what_stands_under_the_name_of_a_secret_or_a_person() -> None:
    rows = [
        {"who": "hans", "note": "a", "entries": {"by": "hans@ours.example"}},
        {"who": "goaway up", "tokens": ["c2Vj", {"deep": "c2Vj"}], "n": 1, "subject": "Offer"},
    ]
    clean = Redaction([], whole=False).clean_values(rows)
    assert clean == [
        {"who": "person-1", "note": "a", "entries": {"by": "person-1@ours.example"}},
        {"who": "goaway up", "tokens": [REMOVED, {"deep": REMOVED}], "n": 1, "subject": REMOVED},
    ]
    assert "c2Vj" not in json.dumps(Redaction([], whole=True).clean_values(rows))


@pytest.mark.parametrize(
    "piece", ["<", "from=<", "a@", '"', "a", " <a@", "http://", "AUTH ", "x.y", "said: to=<a> "]
)
def test_a_long_line_takes_no_long_time(piece: str) -> None:
    started = time.process_time()
    Redaction([], whole=False).clean(piece * (60_000 // len(piece)))
    assert time.process_time() - started < 10


def answer(text: str) -> str:
    """What a client answers a challenge with."""
    return base64.b64encode(text.encode()).decode()


_LOGIN: Final = answer("carla@ours.example")
_PASSWORD: Final = answer("geheim-geheim")
_BOTH: Final = answer("\0carla\0geheim123")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            f"{_SMTPD}improper command pipelining after AUTH from {_CLIENT}: {_LOGIN}{_END}{_PASSWORD}{_END}",
            2,
        ),
        (f"{_SMTPD}improper command pipelining after EHLO from {_CLIENT}: AUTH PLAIN {_BOTH}{_END}QUIT", 1),
        (f"{_POSTSCREEN}COMMAND PIPELINING from {_SCREENED} after EHLO: AUTH LOGIN{_END}{_LOGIN}{_END}", 1),
        ("mx1 postfix/smtp[9]: > mx.example.org[192.0.2.9]:25: AUTH PLAIN " + _BOTH, 1),
        (f"{_SMTPD}smtpd_sasl_authenticate: sasl_method PLAIN, init_response {_BOTH}", 1),
    ],
)
def test_an_answer_to_a_challenge_is_removed_wherever_else_it_stands(line: str, shown: int) -> None:
    redaction = Redaction([], whole=False)
    redaction.learn(line)
    sent = [it for it in (_LOGIN, _PASSWORD, _BOTH) if it in line]
    assert len(sent) == shown
    for it in sent:
        assert redaction.clean(f"got {it}, no") == f"got {REMOVED}, no"
        assert redaction.leaks(f"got {it}, no")


_ORDINARY: Final = (
    "limit connections_per_minute = 60 at 2026-11-24T10:01:02Z by NOQUEUE1 mx1.example.org/smtpd25"
)


@pytest.mark.parametrize(
    "line",
    [
        f"{_SMTPD}improper command pipelining after AUTH from {_CLIENT}: connections_per_minute"
        " 2026-11-24T10",
        f"{_SMTPD}improper command pipelining after AUTH from {_CLIENT}: NOQUEUE1{_END}smtpd25{_END}",
        f"{_POSTSCREEN}COMMAND PIPELINING from {_SCREENED} after EHLO: AUTH LOGIN{_END}"
        "connections_per_minute",
        f"{_SMTPD}warning: non-SMTP command from {_CLIENT}: password=connections_per_minute",
        f"{_SMTPD}smtpd_sasl_authenticate: decoded initial response connections_per_minute",
        f"{_SMTPD}NOQUEUE: reject: RCPT from {_CLIENT}: 504 5.5.2 <password=connections_per_minute,x>: Helo"
        " command rejected; from=<> to=<a@x.example> helo=<password=connections_per_minute,x>",
        f"{_SMTPD}improper command pipelining after AUTH from {_CLIENT}: a b {answer('mx1.example.org')}",
    ],
)
def test_a_client_does_not_decide_what_is_removed_elsewhere(line: str) -> None:
    redaction = Redaction([], whole=False)
    redaction.learn(line)
    assert redaction.clean(_ORDINARY) == _ORDINARY
    assert not redaction.leaks(_ORDINARY)


def test_of_what_texts_show_the_newest_are_looked_for() -> None:
    redaction = Redaction([], whole=False)
    sent = [answer(f"carla-{number:06}") for number in range(MOST_LEARNT + 5)]
    kept = [f"geheim-{number:06}" for number in range(MOST_LEARNT + 7)]
    redaction.learn("\n".join(f"{_SMTPD}< {_CLIENT}: AUTH PLAIN {one}" for one in sent))
    redaction.learn("\n".join(f"sasl.password={one}" for one in kept))
    assert redaction.passed_over == 12
    assert redaction.clean(f"{sent[5]} {sent[-1]} {kept[7]} {kept[-1]}") == " ".join([REMOVED] * 4)
    assert redaction.clean(f"{sent[4]} {kept[6]}") == f"{sent[4]} {kept[6]}"


@given(st.sets(st.text("ab+/\\", min_size=6, max_size=90), min_size=1, max_size=30), st.text("ab+/\\ "))
def test_many_secrets_are_found_as_each_of_them_is(secrets: set[str], between: str) -> None:
    found = any_of(secrets)
    assert found is not None
    for one in secrets:
        assert found.sub("", one) == ""
        longest = found.match(one + between)
        assert longest is not None
        assert longest.group().startswith(one)


def takes(step: Callable[[], object]) -> float:
    """Seconds of this process, the least of three."""
    times = []
    for _ in range(3):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return min(times)


def in_proportion(step: Callable[[str], object], piece: str) -> None:
    """Twice the text takes twice the time: not four times, as where each beginning looks for its end."""
    half, all_of_it = (piece * (size // len(piece)) + "x" for size in (32_768, 65_536))
    assert takes(lambda: step(all_of_it)) < 3 * takes(lambda: step(half)) + 0.05
    assert takes(lambda: step(all_of_it)) < 2


OPENINGS: Final = (
    "authentication failed ",
    "authentication failed: , sasl_method=A, sasl_username ",
    ", sasl_sender=",
    'unknown user: "',
    "' user `",
    "[user=",
    "ip: 192.0.2.7, user: a ",
    "spamd[1]: spamd: ",
    "to=<a ",
    "to=<carla@x.example> ",
    ": replace: header ",
    ": header a; from=<",
    "; from=<",
    "lmtp(,",
    "rejected: not owned by user ",
    " 550 <",
    'subject: "',
    "given password: ",
    "' pass `",
    "helo=<",
    r"AUTH PLAIN \r\n",
    r"RCPT\r\n",
    r"\r\n",
    "password: ",
)


@pytest.mark.parametrize("opening", OPENINGS)
def test_a_line_of_openings_takes_time_in_proportion(opening: str) -> None:
    in_proportion(lambda it: Redaction([], whole=False).clean(it), opening)
    in_proportion(lambda it: Redaction([], whole=False).clean(f"to=<a@x.example> said: {it}"), opening)
    in_proportion(lambda it: Redaction([], whole=False).clean(f": header {it}"), opening)
    in_proportion(lambda it: Redaction([], whole=False).learn(it), opening)
    in_proportion(lambda it: Redaction([], whole=False).learn(f"{_SMTPD}< {_CLIENT}: {it}"), opening)
    in_proportion(lambda it: People(Counter(), REMOVED).without(it), opening)
    in_proportion(lambda it: People(Counter(), REMOVED).without(f"{it}said: {it}"), opening)


def test_what_clients_send_takes_time_in_proportion() -> None:
    ordinary = (
        f"{_SMTPD}connect from {_CLIENT}, YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh aaaaaaaaaaaaaaaaaaaaaaaa\n"
        * 1000
    )
    redaction = Redaction([], whole=False)
    for number in range(6_000):
        sent = answer("a" * 40 + f"{number:06}")
        redaction.learn(f"{_SMTPD}improper command pipelining after AUTH from {_CLIENT}: {sent}\n")
        redaction.learn(f"api_key={'a' * 40}{number:06}\n")
    redaction.leaks("")
    alone = Redaction([], whole=False)
    assert takes(lambda: redaction.clean(ordinary)) < 4 * takes(lambda: alone.clean(ordinary)) + 0.5
    assert takes(lambda: redaction.leaks(ordinary)) < 1


def test_the_rest_of_a_long_line_is_left_out_with_a_note() -> None:
    secret = "kept by-value-1"
    line = "word " * 1600 + f"{secret} " * 100 + "to=<carla@x.example>" + "x" * 9000
    redaction = Redaction([secret], whole=False)
    clean = redaction.clean(f"before\n{line}\nafter")
    assert clean.startswith("before\nword word")
    assert clean.endswith(f" {REMOVED}, the rest of a line of more than 8,192 characters\nafter")
    assert "by-value" not in clean
    assert "carla" not in clean
    assert redaction.clean(clean) == clean
    assert redaction.removed["rest of a long line"] == 1
    ends = "a" * 8192
    assert redaction.clean(ends) == ends


@pytest.mark.parametrize(
    "line",
    [
        "authentication failed: a, sasl_username=§",
        'status=bounced (unknown user: "§")',
        "host `h' user `§' pass `x'",
        "[user=§] [service=smtp]",
        "ip: 192.0.2.7, user: §, from: <a@x.example>",
    ],
)
def test_a_name_that_is_longer_than_any_goes_as_a_whole(line: str) -> None:
    assert "hans" not in cleaned(line.replace("§", "hans m " * 300))
