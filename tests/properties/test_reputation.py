"""What must hold of every address and every message."""

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from streams.agents.reputation.answers import read_answer
from streams.agents.reputation.cache import Cache
from streams.agents.reputation.messages import A, answers, query, question, read_reply
from streams.agents.reputation.names import address_of, zone_name
from streams.errors import InvalidValueError
from streams.model.client import Address, parse_address
from streams.model.modules import Reputation

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
DOMAIN = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
ADDRESS = st.ip_addresses().map(lambda ip: parse_address(str(ip)))
IPV4 = st.ip_addresses(v=4).map(str)
BOUNDS = Reputation(ttl_min_s=10, ttl_max_s=1000)


@given(address=ADDRESS, domain=DOMAIN)
def test_name_and_address_are_each_others(address: Address, domain: str) -> None:
    name = zone_name(address, domain)
    assert address_of(name, domain) == address
    assert address_of(name.upper(), domain) == address
    assert len(name) <= 253
    read = dns.message.from_wire(query(1, question(name, A)))
    assert read.question[0].name.to_text(omit_final_dot=True) == name


@given(
    address=ADDRESS,
    domain=DOMAIN,
    codes=st.lists(IPV4, max_size=8, unique=True),
    ttl_s=st.integers(0, 2**31 - 1),
    absent_s=st.integers(0, 2**31 - 1),
    alias=st.booleans(),
    rcode=st.sampled_from([0, 2, 3, 5]),
)
def test_reply_is_read_as_dnspython_reads_it(
    address: Address, domain: str, codes: list[str], ttl_s: int, absent_s: int, alias: bool, rcode: int
) -> None:
    name = zone_name(address, domain)
    asked = question(name, A)
    message = dns.message.make_response(dns.message.make_query(name, "A"))
    message.set_rcode(dns.rcode.Rcode(rcode))
    if alias:
        message.answer.append(dns.rrset.from_text(f"{name}.", ttl_s, "IN", "CNAME", f"x.{domain}."))
    if codes:
        message.answer.append(dns.rrset.from_text(f"x.{domain}.", ttl_s, "IN", "A", *codes))
    soa = f"ns.{domain}. admin.{domain}. 1 2 3 4 {absent_s}"
    message.authority.append(dns.rrset.from_text(f"{domain}.", ttl_s, "IN", "SOA", soa))
    wire = message.to_wire()
    assert answers(wire, asked)
    read = read_reply(wire, asked)
    assert sorted(read.addresses) == sorted(codes)
    assert read.ttl_s == (ttl_s if codes else min(ttl_s, absent_s))
    assert read.rcode == rcode
    answer = read_answer(read, BOUNDS)
    if answer.trouble is None:
        assert BOUNDS.ttl_min_s <= answer.ttl_s <= BOUNDS.ttl_max_s
    assert all(code.startswith("127.") and not code.startswith("127.255.255.") for code in answer.codes)
    assert answer.codes == () or rcode in (0, 3)


@given(address=ADDRESS, noise=st.binary(max_size=300), cut=st.integers(0, 400))
def test_no_message_breaks_the_reader(address: Address, noise: bytes, cut: int) -> None:
    asked = question(zone_name(address, "bl.example"), A)
    header = b"\0\1\x81\x80\0\1\0\3\0\2\0\0"
    for wire in (noise, header + asked + noise, (header + asked + noise)[:cut]):
        if not answers(wire, asked):
            continue
        try:
            read = read_reply(wire, asked)
        except InvalidValueError:
            continue
        assert len(read.addresses) <= 3
        read_answer(read, BOUNDS)


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(1, 20))
def test_cache_holds_the_latest_used_and_no_more(used: list[int], room: int) -> None:
    cache = Cache(addresses=room)
    for number in used:
        cache.of(Address(f"192.0.2.{number}"))
    latest = list(dict.fromkeys(reversed(used)))[:room]
    assert cache.addresses() == [f"192.0.2.{number}" for number in reversed(latest)]
