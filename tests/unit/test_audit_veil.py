"""Sender and recipient as they are stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.audit.veil import Veil
from streams.config import StoringSettings, read_settings
from streams.errors import SettingsError
from streams.model.event import Event

KEY = "0123456789abcdef"


def veil(mode: str, key: str = KEY) -> Veil:
    return Veil(StoringSettings(mode, key))


def stored(mode: str, detail: str, sender: str, recipient: str) -> tuple[str, str, str]:
    """Sender, recipient and detail of a refusal as they are stored."""
    fields = dict.fromkeys(Event.__struct_fields__, "") | {"kind": "rcpt"}
    fields |= {"sender": sender, "recipient": recipient, "detail": detail}
    found = dict(zip(fields, veil(mode).event(tuple(fields.values())), strict=True))
    return found["sender"], found["recipient"], found["detail"]


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("anna@Example.org", "@example.org"),
        ("a@b@example.org", "@example.org"),
        ("postmaster", "@"),
        ("", ""),
        ("@", "@"),
    ],
)
def test_a_domain_is_what_is_left(address: str, domain: str) -> None:
    assert veil("domain").veiled(address) == domain
    assert veil("whole").veiled(address) == address


def test_a_hash_tells_one_from_another_and_not_who() -> None:
    one = veil("hash")
    assert one.veiled("anna@Example.org") == one.veiled("anna@example.org")
    assert one.veiled("anna@example.org") != one.veiled("Anna@example.org")  # local parts may differ in case
    assert one.veiled("anna@example.org") != veil("hash", KEY + "x").veiled("anna@example.org")
    assert one.veiled("anna@example.org").endswith("@example.org")
    assert one.veiled("") == ""


@given(st.text(max_size=40), st.sampled_from(["hash", "domain"]))
def test_whether_there_was_an_address_can_still_be_told(address: str, mode: str) -> None:
    assert bool(veil(mode).veiled(address)) == bool(address)


@given(st.text("abcdefghij", min_size=6, max_size=20))
def test_a_local_part_is_in_no_field(local: str) -> None:
    names = Event.__struct_fields__
    address = f"{local}@example.org"
    fields: dict[str, object] = dict.fromkeys(names, "x")
    fields |= {"sender": address, "recipient": f"x.{address}", "code": 550}
    fields["detail"] = f"<{address}>: rejected; <x.{address}>"
    for mode in ("hash", "domain"):
        found = dict(zip(names, veil(mode).event(tuple(fields.values())), strict=True))
        assert local not in str(found)
        assert str(found["detail"]).endswith("@example.org>")
        others = set(names) - {"sender", "recipient", "detail"}
        assert all(found[name] == fields[name] for name in others)
    assert veil("whole").event(tuple(fields.values())) == tuple(fields.values())


@pytest.mark.parametrize(
    ("detail", "hidden"),
    [
        ("550 5.1.1 <Anna@Example.org>: Recipient address rejected: User unknown", "Anna"),
        ("COMMAND PIPELINING from [192.0.2.7]:25 after EHLO: MAIL FROM:<dave@secret.org>\\r\\n", "dave"),
        ("after EHLO: MAIL FROM:<dave@secret.org SIZE=1", "dave"),
        ("after EHLO: mail from:<dave SIZE=1", "dave"),
        ("after EHLO: RCPT TO:<dave> NOTIFY=NEVER", "dave"),
        ("after EHLO: RCPT TO:dave", "dave"),
        ("To: <erin@secret.org>", "erin"),
        ("host mx.example.org said: 550 <frank.private@inner.example>: unknown", "frank"),
        ("said: 550 <frank.private@inner", "frank"),
        ("said: 550 <frank.pri", "frank"),
        ("user grace@example.org is over quota", "grace"),
        ("(grace@example.org, heidi@example.org)", "heidi"),
        ("from=<ivan@example.com> to=<judy@example.org> proto=ESMTP", "judy"),
        ("sasl_username=mallory@example.org", "mallory"),
        ("550 olivia=example.org+bounce@lists.example.com unknown", "olivia"),
        ('550 <"peggy sue"@example.org>: unknown', "sue"),
        ('550 "peggy sue"@example.org unknown', "sue"),
        ("550 <peggy sue@example.org>: unknown", "peggy"),
        ("550 <@relay.example,@b.example:rupert@example.org>: unknown", "rupert"),
        ("550 victor@[192.0.2.7] unknown", "victor"),
    ],
)
def test_no_address_in_a_text_is_left_whoevers_it_is(detail: str, hidden: str) -> None:
    for mode in ("hash", "domain"):
        for sender, recipient in (("anna@example.org", ""), ("", "bob"), ("", "")):
            _, _, found = stored(mode, detail, sender, recipient)
            assert hidden not in found
            assert "rejected" in found or "rejected" not in detail
    assert stored("whole", detail, "anna@example.org", "")[2] == detail


@pytest.mark.parametrize(
    "detail",
    [
        "551 5.7.1 <mail.example.com>: Helo command rejected: Go away: exceeded connection rate limit",
        "551 5.7.1 <unknown[192.0.2.5]>: Client host rejected: Go away: blocked by administrator: a < b",
        "ehlo=1 mail=4/6 rcpt=1/5 data=1 quit=1 commands=9/15",
        "message-id=<20260101.1@mail.example.com>",
        "bare <LF> received after DATA from unknown[2001:db8::7]",
        "",
    ],
)
def test_a_text_without_an_address_is_left_alone(detail: str) -> None:
    for mode in ("hash", "domain"):
        assert stored(mode, detail, "anna@example.org", "bob@example.org")[2] == detail


def test_sender_and_recipient_meet_their_like_in_the_text() -> None:
    found = stored("hash", "<ANNA@example.ORG>: to=<Bob> and joanna@example.org", "anna@Example.org", "bob")
    assert found[2].startswith(f"<{found[0]}>: to=<{found[1]}> and ")
    assert found[2].endswith(f"{veil('hash').veiled('joanna@example.org')}")
    odd = stored("hash", "<a>b@example.org>: no, c a>B@example.org", "a>b@example.org", "c")
    assert odd[2] == f"<{odd[0]}>: no, {odd[1]} {odd[0]}"


def test_a_text_that_was_cut_still_shows_it() -> None:
    detail = f"551 5.7.1 <{'x' * 450}@example.org>: Helo command rejected: Go away: y".ljust(512, ".")
    for mode in ("hash", "domain"):
        assert 510 <= len(stored(mode, detail, "", "")[2]) < 512
    assert len(stored("hash", detail[:500], "", "")[2]) < 100


@given(st.text(st.sampled_from("<>@\"' :=.[]aA-"), max_size=60), st.text('<>@"a .', max_size=8))
def test_any_text_is_veiled_and_what_is_veiled_has_no_new_words(detail: str, sender: str) -> None:
    assert "aA-aA" not in stored("domain", f"{detail} aA-aA@b.example", sender, "")[2]


def test_what_is_no_clients_doing_is_ours_and_left_alone() -> None:
    fields = dict.fromkeys(Event.__struct_fields__, "") | {
        "kind": "forget",
        "detail": "asked by a@example.org",
    }
    assert veil("hash").event(tuple(fields.values())) == tuple(fields.values())


def test_what_names_nobody_is_left_alone() -> None:
    fields = tuple("" for _ in Event.__struct_fields__)
    assert veil("hash").event(fields) is fields


def test_settings() -> None:
    assert read_settings({}).storing.addresses == "whole"
    found = read_settings({"GOAWAY_STORE_ADDRESSES": "hash", "GOAWAY_STORE_KEY": KEY})
    assert found.storing == StoringSettings("hash", KEY)
    assert KEY not in repr(found)
    with pytest.raises(SettingsError, match="GOAWAY_STORE_KEY has 3 characters"):
        read_settings({"GOAWAY_STORE_ADDRESSES": "hash", "GOAWAY_STORE_KEY": "abc"})
    with pytest.raises(SettingsError, match="GOAWAY_STORE_ADDRESSES = 'none' is unknown"):
        read_settings({"GOAWAY_STORE_ADDRESSES": "none"})
