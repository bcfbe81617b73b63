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
