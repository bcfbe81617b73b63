"""What a history shows of a client, and what is thought of it: from log lines, as Postfix writes them."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from streams.model.client import Client, parse_network
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant, parse_instant
from streams.model.policy import Exemption, Limits, NetworkRule, Policy
from streams.model.schedule import Schedule
from streams.replay.legitimacy import Legitimacy, cut_short, legitimacy
from streams.replay.log_words import refusing_zone
from streams.replay.observed import Observed
from streams.replay.peaks import observe
from streams.replay.rhythm import Rhythms
from streams.replay.setting import RULES
from streams.wire.postfix import LogParser
from tests.unit.tune_history import MONITOR, SENDER, START, STRANGER, event, session

POLITE, RUDE = "ehlo=1 quit=1 commands=2", "ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4"
AWAY = (
    "551 5.7.1 <unknown[ADDRESS]>: Client host rejected: Go away: exceeded connection rate limit; proto=SMTP"
)
LISTED = (
    "554 5.7.1 Service unavailable; Client host [ADDRESS] blocked using zen.example; "
    "https://zen.example/ADDRESS; from=<a@example.org> to=<b@example.com> proto=ESMTP helo=<x>"
)


def lines(at_s: float, address: str, number: int, *said: str, ended: str) -> Iterator[tuple[float, str, str]]:
    """A connection in which smtpd says this; each with its instant and process."""
    who = f"unknown[{address}]"
    whole = (f"connect from {who}", *said, f"disconnect from {who} {ended}")
    for place, text in enumerate(whole):
        yield (
            at_s + place / 100,
            f"smtpd[{1000 + number}]",
            text.replace("WHO", who).replace("ADDRESS", address),
        )


def refused(at_s: float, address: str, number: int) -> Iterator[tuple[float, str, str]]:
    """A connection that Goaway refuses."""
    ended = "ehlo=0/1 auth=0/1 quit=1 commands=1/3"
    return lines(at_s, address, number, f"NOQUEUE: reject: CONNECT from WHO: {AWAY}", ended=ended)


def read(*sessions: Iterable[tuple[float, str, str]]) -> list[Event]:
    """The events of these lines, in order of time."""
    parser = LogParser(zone=UTC, reference=Instant(parse_instant("2026-12-31T00:00:00Z")))
    found: list[Event] = []
    for at_s, process, text in sorted(it for each in sessions for it in each):
        stamp = datetime.fromtimestamp(START + at_s, UTC).isoformat(timespec="milliseconds")
        result = parser.read(f"{stamp} mx postfix/{process}: {text}".encode())
        found += result if isinstance(result, list) else []
    return found


def seen_of(address: str, events: Iterable[Event], policy: Policy | None = None) -> Observed:
    return observe(policy or Policy(), events)[Client(address)]


def thought_of(address: str, events: Iterable[Event], policy: Policy | None = None) -> Legitimacy:
    return legitimacy(seen_of(address, events, policy))


def monitoring(*, every_s: float = 60, count: int = 480, ended: str = POLITE) -> Iterator[Event]:
    for number in range(count):
        yield from session(number * every_s, MONITOR, number, ended=ended)


def test_a_monitor_that_goaway_refuses_at_times_is_a_monitor() -> None:
    polite = [lines(n * 60, MONITOR, n, ended=POLITE) for n in range(480) if n % 3]
    away = [refused(n * 60, MONITOR, n) for n in range(0, 480, 3)]
    seen = seen_of(MONITOR, read(*polite, *away))
    assert (seen.turned_away, seen.unserved, seen.served) == (160, 160, 320)
    assert (seen.refused, seen.erring, seen.auth_failures) == (0, 0, 0)
    thought = legitimacy(seen)
    assert thought.verdict == "legitimate"
    assert thought.reasons[-1] == (
        "+0 Goaway refused 160 attempts here: what they would have sent is not shown"
    )
    assert cut_short([seen]).startswith("Goaway itself refused 160 attempts of 1 client in this history: ")
    assert cut_short([]) == ""


def test_what_goaway_refuses_is_no_evidence_of_abuse() -> None:
    assert thought_of(STRANGER, read(*(refused(n, STRANGER, n) for n in range(50)))) == Legitimacy(
        "unclear", 0, ("+0 Goaway refused 50 attempts here: what they would have sent is not shown",)
    )


def test_what_is_put_off_is_no_evidence_either_nor_turned_away() -> None:
    later = (
        "NOQUEUE: reject: RCPT from WHO: 451 4.7.1 <b@example.com>: Recipient address rejected: "
        "Go away: greylisted, retry in 600 s; from=<a@example.org> to=<b@example.com> proto=ESMTP helo=<x>"
    )
    events = read(*(lines(n, STRANGER, n, later, ended=RUDE) for n in range(50)))
    seen = seen_of(STRANGER, events)
    assert (seen.turned_away, seen.unserved, seen.erring, seen.refused) == (0, 50, 0, 0)
    assert legitimacy(seen) == Legitimacy("unclear", 0, ())


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 <b@example.com>: Recipient address rejected: User unknown",
        "504 5.5.2 <Go away: x>: Helo command rejected: need fully-qualified hostname",
        "554 5.7.1 <Go away: exceeded connection rate limit@x>: Relay access denied",
        "554 5.7.1 <x>: Helo command rejected: Go away: x>: Helo command rejected: Access denied",
    ],
)
def test_who_speaks_as_we_do_gains_nothing_by_it(reply: str) -> None:
    tail = "from=<a@example.org> to=<b@example.com> proto=ESMTP helo=<Go away: x>"
    said = f"NOQUEUE: reject: RCPT from WHO: {reply}; {tail}"
    seen = seen_of(STRANGER, read(*(lines(n * 2, STRANGER, n, said, ended=RUDE) for n in range(30))))
    assert (seen.turned_away, seen.unserved, seen.refused, seen.erring) == (0, 0, 30, 30)
    assert legitimacy(seen).verdict == "abusive"


def test_what_the_client_does_before_goaway_refuses_counts() -> None:
    said = (
        "warning: WHO: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
        "NOQUEUE: reject: MAIL from WHO: 571 5.7.1 <unknown[ADDRESS]>: Client host rejected: Go away: "
        "exceeded connection rate limit; from=<a@example.org> proto=ESMTP helo=<x>",
    )
    ended = "ehlo=1 auth=0/1 mail=0/1 quit=1 commands=2/4"
    seen = seen_of(STRANGER, read(*(lines(n, STRANGER, n, *said, ended=ended) for n in range(10))))
    assert (seen.turned_away, seen.auth_failures, seen.erring) == (10, 10, 0)
    unlogged = seen_of(STRANGER, read(*(lines(n, STRANGER, n, said[1], ended=ended) for n in range(10))))
    assert unlogged.auth_failures == 10


def test_an_even_rhythm_of_refused_connections_proves_nothing() -> None:
    thought = thought_of(MONITOR, read(*(refused(n * 60, MONITOR, n) for n in range(480))))
    assert (thought.verdict, thought.score) == ("unclear", 0)


def test_refused_sessions_neither_hide_violations_nor_are_clean() -> None:
    pipelining = "improper command pipelining after EHLO from WHO: QUIT"
    events = read(
        *(lines(n * 9, STRANGER, n, pipelining, ended="ehlo=1 commands=1") for n in range(10)),
        *(
            lines(n * 9 + 5, STRANGER, n, f"NOQUEUE: reject: EHLO from WHO: {AWAY}", ended=POLITE)
            for n in range(91)
        ),
    )
    seen = seen_of(STRANGER, events)
    assert (seen.connects, seen.served, seen.violations, seen.clean) == (101, 10, 10, 0)
    assert legitimacy(seen).reasons[0] == "-30 10 protocol violations"


def test_sessions_that_goaway_refused_are_remembered_within_bounds() -> None:
    away = [
        event(n, "refusal", STRANGER, str(n), code=551, detail="551 5.7.1 Go away: exceeded")
        for n in range(500)
    ]
    seen = seen_of(STRANGER, away)
    assert (seen.turned_away, seen.unserved, len(seen.turning_away or ())) == (500, 500, 64)
    twice = seen_of(STRANGER, [away[0], *(replace(it, id=f"{it.id}x") for it in away[:2])])
    assert (twice.turned_away, twice.unserved) == (3, 2)


@pytest.mark.parametrize(
    ("every_s", "open_s"),
    [
        (0.5, 50),  # many at once, many a minute
        (10, 0.5),  # too often
        (30, 200),  # seldom, but each held open
    ],
)
def test_an_even_rhythm_does_not_raise_limits_at_will(every_s: float, open_s: float) -> None:
    events = []
    for number in range(int(7 * 3600 / every_s)):
        start, _ = session(number * every_s, MONITOR, number)
        events += [start, event(number * every_s + open_s, "disconnect", MONITOR, str(number), detail=POLITE)]
    found = thought_of(MONITOR, sorted(events, key=lambda it: it.at))
    assert found == Legitimacy("unclear", 0, ())


@pytest.mark.parametrize("before", [(0.0,), (0.0, 1.0)])
def test_hours_of_silence_are_no_even_rhythm(before: tuple[float, ...]) -> None:
    """A pause of six hours and then less than five; the first pause of all has none to be like either."""
    starts = [*before, *(6 * 3600 + n * 30 for n in range(580))]
    events = [it for n, at_s in enumerate(starts) for it in session(at_s, MONITOR, n, ended=POLITE)]
    assert thought_of(MONITOR, events) == Legitimacy("unclear", 0, ())


def test_hours_at_a_door_that_is_seldom_used_do_not_count_for_another() -> None:
    found = [(n * 3600, "submission/smtpd", n) for n in range(12)]
    found += [(12 * 3600 + n * 30, "smtpd", 20 + n) for n in range(120)]
    events = [
        replace(it, service=service)
        for at_s, service, n in found
        for it in session(at_s, MONITOR, n, ended=POLITE)
    ]
    assert thought_of(MONITOR, events) == Legitimacy("unclear", 0, ())


def test_a_monitor_may_deliver_a_message_now_and_then() -> None:
    mail = [it for n in range(2) for it in session(9000.5 + n * 3600, MONITOR, 900 + n, mails=1)]
    messages = [it for it in mail if it.kind == "message"]
    thought = thought_of(MONITOR, sorted([*monitoring(), *messages], key=lambda it: it.at))
    assert [it.partition(" ")[0] for it in thought.reasons] == ["+40", "+40"]
    unsteady = [it for it in monitoring() if int(it.at // MICROSECONDS - START) // 60 % 5]
    thought = thought_of(MONITOR, sorted([*unsteady, *messages], key=lambda it: it.at))
    assert thought.reasons == ("+40 delivered 2 messages", "-60 384 connections for 2 messages")


def test_a_burst_amid_an_even_rhythm_spoils_it() -> None:
    burst = [it for n in range(13) for it in session(9000 + n, MONITOR, 9000 + n, ended=POLITE)]
    events = sorted([*monitoring(), *burst], key=lambda it: it.at)
    assert thought_of(MONITOR, monitoring()).verdict == "legitimate"
    assert thought_of(MONITOR, events).verdict == "unclear"


def test_a_prober_that_is_refused_by_the_mta_is_none() -> None:
    refusal = event(7, "rcpt", MONITOR, "0", code=550, detail="550 5.1.1 <x>: User unknown")
    assert thought_of(MONITOR, [refusal, *monitoring()]).verdict != "legitimate"


def test_a_monitor_may_probe_two_ports_each_minute() -> None:
    events = list(monitoring())
    for minute in range(480):  # the second a second after the first
        events += [
            replace(it, id=f"{it.id}s", service="submission/smtpd")
            for it in session(minute * 60 + 1, MONITOR, 1000 + minute, ended=POLITE)
        ]
    events.sort(key=lambda it: it.at)
    found = thought_of(MONITOR, events)
    assert found.reasons == ("+40 connects every 60 s for 8 h and never errs",)
    assert thought_of(MONITOR, [replace(it, service="") for it in events]).verdict != "legitimate"


def visits(hosts: int) -> Rhythms:
    """A monitor of so many hosts, each once a minute, one after the other."""
    found = Rhythms("mx0", "smtpd", 0)
    for minute in range(1, 60):
        for host in range(hosts):
            found.beat_at(f"mx{host}", "smtpd", (minute * 600 + host) * MICROSECONDS // 10)
    return found


def test_every_host_is_a_door_of_its_own_up_to_65() -> None:
    assert (visits(65).regular, visits(65).pause_us) == (1.0, 60 * MICROSECONDS)
    assert len(visits(200).doors) == 66
    assert visits(200).pause_us < MICROSECONDS


def test_a_door_that_is_seldom_used_shows_no_rhythm() -> None:
    found = Rhythms("mx", "smtpd", 0)
    for number in range(1, 20):
        found.beat_at("mx", "smtpd", number)
    assert (found.regular, found.pause_us) == (0.0, 0)
    found.beat_at("mx", "smtpd", 5)  # late: no pause
    assert found.gaps == 19


def test_an_exemption_that_ends_exempts_no_further() -> None:
    ends = Instant(int((START + 7000) * MICROSECONDS))
    policy = Policy(exemptions=(Exemption(module="rate", network=parse_network(SENDER), expires=ends),))
    early = [it for n in range(30) for it in session(3600 + n, SENDER, n, mails=1)]
    late = [it for n in range(9) for it in session(7200 + n, SENDER, 100 + n, mails=1)]
    seen = seen_of(SENDER, [*early, *late], policy)
    assert (seen.exempt, seen.asks[1:]) == (False, [9, 9])
    assert not any("exempt" in it for it in legitimacy(seen).reasons)
    throughout = seen_of(SENDER, early, policy)
    assert (throughout.exempt, throughout.asks) == (True, [0, 0, 0])
    assert legitimacy(throughout).reasons[0].startswith("+60 exempt")


@pytest.mark.parametrize("first", ["2001:db8:0:1::5", "2001:db8:0:1::6"])
def test_an_exemption_of_one_address_does_not_exempt_its_64(first: str) -> None:
    policy = Policy(exemptions=(Exemption(module="rate", network=parse_network("2001:db8:0:1::5")),))
    events = [*session(0, first, 0, mails=1)]
    events += [it for n in range(25) for it in session(600 + n, "2001:db8:0:1::6", n, mails=1)]
    seen = seen_of("2001:db8:0:1::/64", events, policy)
    assert (seen.exempt, seen.asks[1:]) == (False, [25, 25])


def test_who_is_exempt_asks_nothing_even_of_what_others_of_its_64_did() -> None:
    minute = START // 60 % 1440
    policy = Policy(
        exemptions=(Exemption(module="rate", network=parse_network("2001:db8:0:1::5")),),
        schedules=(
            Schedule(
                name="rush",
                from_minute=minute,
                to_minute=minute + 1,
                overrides=tuple((rule, 99) for rule in RULES),
            ),
        ),
    )
    events = [it for n in range(25) for it in session(30 + n, "2001:db8:0:1::6", n, mails=1)]
    events += session(61, "2001:db8:0:1::5", 99, mails=1)  # the schedule is over, their minute is not
    seen = seen_of("2001:db8:0:1::/64", events, policy)
    assert (seen.peaks, seen.asks) == ([1, 25, 25], [0, 0, 0])


def test_a_client_asks_of_every_entry_that_judges_it() -> None:
    entry = NetworkRule(network=parse_network("2001:db8:0:1::5"), name="n", limits=Limits())
    schedule = Schedule(name="day", from_minute=0, to_minute=1, overrides=())
    for policy in (Policy(networks=(entry,)), Policy(networks=(entry,), schedules=(schedule,))):
        events = [it for n in range(3) for it in session(n, "2001:db8:0:1::5", n, mails=1)]
        events += [it for n in range(25) for it in session(600 + n, "2001:db8:0:1::6", n, mails=1)]
        seen = seen_of("2001:db8:0:1::/64", events, policy)
        assert dict(seen.entries()) == {"2001:db8:0:1::5/128": [1, 3, 3], "": [1, 25, 25]}
        assert seen.peaks == [1, 25, 25]


@pytest.mark.parametrize(
    ("reason", "zone"),
    [
        ("554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.example", "zen.example"),
        (
            "450 4.7.1 Service unavailable; Client host [192.0.2.7] blocked using Zen.Example.; why",
            "zen.example",
        ),
        ("550 5.7.1 Service unavailable; client [2001:db8::7] blocked using bl.example", "bl.example"),
        ("Service unavailable; client [::ffff:192.0.2.7] blocked using bl.example", "bl.example"),
        (
            f"554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using {'z' * 70}.example",
            "z" * 64,
        ),
        # a resolver that the zone does not serve: Postfix refuses, but nobody is listed
        (
            "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.example; "
            "Error: open resolver; https://check.example/returnc/pub/192.0.2.7",
            "",
        ),
        ("554 5.7.1 Service unavailable; Client host [mx.example.org] blocked using dbl.example", ""),
        ("554 5.7.1 Service unavailable; Helo command [192.0.2.7] blocked using dbl.example", ""),
        ("554 5.7.1 Service unavailable; Sender address [a@192.0.2.7] blocked using dbl.example", ""),
        ("554 5.7.1 <x; Client host [192.0.2.7] blocked using zen.example>: Helo command rejected: no", ""),
        ("550 5.1.1 <b@example.com>: Recipient address rejected: User unknown", ""),
        ("", ""),
    ],
)
def test_the_zone_by_which_postfix_refuses(reason: str, zone: str) -> None:
    assert refusing_zone(reason) == zone


def test_who_is_refused_by_a_zone_is_listed() -> None:
    said = f"NOQUEUE: reject: RCPT from WHO: {LISTED}"
    seen = seen_of(STRANGER, read(*(lines(n, STRANGER, n, said, ended=RUDE) for n in range(3))))
    assert (seen.listed, seen.refused) == (("zen.example",), 3)
    assert legitimacy(seen).reasons[0] == "-30 listed in zen.example"


def test_zones_are_counted_within_bounds() -> None:
    said = [f"NOQUEUE: reject: RCPT from WHO: {LISTED.replace('zen.', f'z{n}.')}" for n in range(50)]
    seen = seen_of(STRANGER, read(*(lines(n, STRANGER, n, it, ended=RUDE) for n, it in enumerate(said))))
    assert seen.listed == tuple(f"z{n}.example" for n in range(8))


def test_only_what_has_a_queue_id_was_taken() -> None:
    """2,000 recipients refused in one session: how many transactions they were only its end tells."""
    refusal = (
        "NOQUEUE: reject: RCPT from WHO: 550 5.1.1 <u{0}@example.com>: Recipient address rejected: User "
        "unknown; from=<a@example.org> to=<u{0}@example.com> proto=ESMTP helo=<x>"
    )
    said = [refusal.format(n) for n in range(200)]
    ended = "ehlo=1 mail=200 rcpt=0/200 quit=1 commands=202/402"
    events = read(lines(0, STRANGER, 1, *said, ended=ended))
    assert sum(it.detail == "counted at disconnect" for it in events) == 199
    seen = seen_of(STRANGER, events)
    assert (seen.accepted, seen.refused) == (0, 200)
    assert legitimacy(seen).verdict == "abusive"


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("4PbTx31: client=WHO", 1),
        ("4PbTx31: client=WHO, sasl_method=PLAIN, sasl_username=anna", 1),
        ("NOQUEUE: client=WHO", 1),  # passed on to a filter before the queue
        (
            "NOQUEUE: discard: RCPT from WHO: <a@b>: Sender address triggers; from=<a@b> to=<c@d> proto=SMTP",
            0,
        ),
    ],
)
def test_what_is_taken(said: str, taken: int) -> None:
    seen = seen_of(STRANGER, read(lines(0, STRANGER, 1, said, ended="ehlo=1 mail=1 quit=1 commands=3")))
    assert (seen.accepted, seen.authenticated) == (taken, int("anna" in said))


def test_a_transaction_that_goes_on_after_a_refusal_was_taken() -> None:
    refusal = (
        "NOQUEUE: reject: RCPT from WHO: 550 5.1.1 <u@example.com>: Recipient address rejected: User "
        "unknown; from=<a@example.org> to=<u@example.com> proto=ESMTP helo=<x>"
    )
    ended = "ehlo=1 mail=1 rcpt=1/2 quit=1 commands=4/5"
    seen = seen_of(STRANGER, read(lines(0, STRANGER, 1, refusal, "4PbTx31: client=WHO", ended=ended)))
    assert (seen.accepted, seen.refused) == (1, 1)
