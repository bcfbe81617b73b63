"""DNS on the wire, what an answer means, and the names that zones are asked for."""

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from streams.agents.reputation.answers import read_answer
from streams.agents.reputation.messages import (
    AAAA,
    MX,
    A,
    Reply,
    answers,
    is_truncated,
    query,
    question,
    rcode_of,
    read_reply,
)
from streams.agents.reputation.names import address_of, known_entries, reversed_labels, zone_name
from streams.agents.reputation.senders import domain_of
from streams.errors import InvalidValueError
from streams.model.client import Address
from streams.model.modules import Reputation, Zone

BOUNDS = Reputation(ttl_min_s=300, ttl_max_s=86_400)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.99", "99.2.0.192.bl.example"),
        (
            "2001:db8:1:2:3:4:567:89ab",
            # the example of RFC 5782, 2.4
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example",
        ),
    ],
)
def test_name_of_an_address_and_back(address: str, name: str) -> None:
    assert zone_name(Address(address), "bl.example") == name
    assert address_of(name, "bl.example") == address


@pytest.mark.parametrize(
    "name", ["bl.example", "1.2.3.bl.example", "1.2.3.256.bl.example", "1.2.3.4.other.example", "x" * 70]
)
def test_what_is_no_name_of_an_address(name: str) -> None:
    assert address_of(name, "bl.example") is None


def test_entries_of_an_ipv6_zone() -> None:
    listed, unlisted = known_entries(Zone(domain="six.example", ipv4=False))
    assert reversed_labels(listed).startswith("2.0.0.0.0.0.f.7.f.f.f.f.0.")
    assert reversed_labels(unlisted).startswith("1.0.0.0.0.0.f.7.f.f.f.f.0.")
    assert [str(ip) for ip in known_entries(Zone(domain="bl.example"))] == ["127.0.0.2", "127.0.0.1"]


@pytest.mark.parametrize("kind", [A, AAAA, MX])
def test_query_is_one_that_others_read(kind: int) -> None:
    read = dns.message.from_wire(query(4711, question("2.0.0.127.bl.example", kind)))
    assert read.id == 4711
    assert read.flags == dns.flags.RD
    assert read.question[0].name.to_text() == "2.0.0.127.bl.example."
    assert read.question[0].rdtype == kind


@pytest.mark.parametrize("name", ["a..example", "x" * 64 + ".example", ".".join(["x" * 60] * 5)])
def test_name_that_dns_cannot_carry(name: str) -> None:
    with pytest.raises(InvalidValueError):
        question(name, A)


def reply_to(name: str, *records: str, rcode: int = 0, soa: str = "") -> bytes:
    """A reply as dnspython writes it, names compressed. Records: `TTL TYPE CONTENT`."""
    message = dns.message.make_response(dns.message.make_query(name, "A"))
    message.set_rcode(dns.rcode.Rcode(rcode))
    for record in records:
        ttl, kind, content = record.split(" ", 2)
        message.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, content))
    if soa:
        message.authority.append(dns.rrset.from_text("bl.example.", 900, "IN", "SOA", soa))
    return message.to_wire()


ASKED = question("2.0.0.127.bl.example", A)
NAME = "2.0.0.127.bl.example."


def test_reply_with_listings_and_an_alias() -> None:
    wire = reply_to(NAME, "70 CNAME x.bl.example.", "60 A 127.0.0.4", "50 A 127.0.0.2")
    assert answers(wire, ASKED)
    assert read_reply(wire, ASKED) == Reply(0, ("127.0.0.4", "127.0.0.2"), 50)


def test_absence_holds_as_long_as_the_zone_says() -> None:
    wire = reply_to(NAME, rcode=3, soa="ns.example. admin.example. 1 2 3 4 450")
    assert read_reply(wire, ASKED) == Reply(3, (), 450)
    assert rcode_of(wire) == 3
    assert not is_truncated(wire)
    assert read_reply(reply_to(NAME, rcode=3), ASKED) == Reply(3, (), None)


def test_only_a_reply_to_the_question_answers_it() -> None:
    wire = reply_to(NAME, "60 A 127.0.0.4")
    assert answers(wire, question(NAME[:-1].upper(), A))
    assert not answers(wire, question("3.0.0.127.bl.example", A))
    assert not answers(wire, question(NAME[:-1], MX))
    assert not answers(query(1, ASKED), ASKED)
    assert not answers(wire[:20], ASKED)
    assert not answers(b"", ASKED)


@pytest.mark.parametrize("length", [len(ASKED) + 13, len(ASKED) + 20, -1])
def test_cut_reply_is_no_reply(length: int) -> None:
    with pytest.raises(InvalidValueError):
        read_reply(reply_to(NAME, "60 A 127.0.0.4")[:length], ASKED)


@pytest.mark.parametrize(
    ("reply", "codes", "ttl_s", "kind"),
    [
        (Reply(0, ("127.0.0.10", "127.0.0.2"), 900), ("127.0.0.2", "127.0.0.10"), 900, None),
        (Reply(3, (), 60), (), 300, None),
        (Reply(0, (), None), (), 300, None),
        (Reply(0, ("127.0.0.2",), 10**6), ("127.0.0.2",), 86_400, None),
        (Reply(0, ("127.255.255.254",), 60), (), 0, "refusing"),
        (Reply(0, ("127.255.255.7",), 60), (), 0, "refusing"),
        (Reply(0, ("127.0.0.2", "127.255.255.255"), 60), (), 0, "refusing"),
        (Reply(0, ("192.0.2.1",), 60), (), 0, "strange"),
        (Reply(2, (), None), (), 0, "silent"),
        (Reply(5, ("127.0.0.2",), 60), (), 0, "silent"),
    ],
)
def test_meaning_of_a_reply(reply: Reply, codes: tuple[str, ...], ttl_s: int, kind: str | None) -> None:
    answer = read_answer(reply, BOUNDS)
    assert (answer.codes, answer.ttl_s) == (codes, ttl_s)
    assert (answer.trouble.kind if answer.trouble else None) == kind


@pytest.mark.parametrize(
    ("code", "word"),
    [("252", "mistyped"), ("254", "public or open"), ("255", "too many queries"), ("9", "127.255.255.9")],
)
def test_error_codes_have_words_and_advice(code: str, word: str) -> None:
    trouble = read_answer(Reply(0, (f"127.255.255.{code}",), 60), BOUNDS).trouble
    assert trouble is not None
    assert word in trouble.text
    assert trouble.advice


@pytest.mark.parametrize(
    ("sender", "domain"),
    [
        ("ada@Example.ORG", "example.org"),
        ("ada@example.org.", "example.org"),
        ('"a@b"@example.org', "example.org"),
        ("ada@bücher.example", "xn--bcher-kva.example"),
        ("", ""),
        ("ada", ""),
        ("@example.org", ""),
        ("ada@localhost", ""),
        ("ada@[192.0.2.1]", ""),
        ("ada@-x.example", ""),
        ("ada@a..example", ""),
        ("ada@" + "x" * 64 + ".example", ""),
        ("ada@" + "x." * 200 + "example", ""),
        ("ada@exa mple.org", ""),
    ],
)
def test_domain_that_a_sender_is_judged_by(sender: str, domain: str) -> None:
    assert domain_of(sender) == domain
