"""Sender and recipient as they are stored."""

import re
from importlib import import_module
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from streams.audit.rows import Record, TopicRows
from streams.audit.veil import Veil
from streams.config import StoringSettings, read_settings
from streams.errors import SettingsError
from streams.model.client import Address, Client
from streams.model.decision import MOST_NOTED, Action, Decision, Evidence, Trigger
from streams.model.event import Event
from streams.model.instant import Instant
from streams.topics import DECISIONS
from streams.wire.frames import encode
from streams.wire.postfix.ours import MAX_OURS, cannot_be_told, is_ours, spoken_by
from tests.properties.refusals import ANSWERS, not_ours, ours

KEY = "0123456789abcdef"
HIDING: Final = ("hash", "domain")
ANSWER: Final = "Go away: exceeded connection rate limit"


def veil(mode: str, key: str = KEY) -> Veil:
    return Veil(StoringSettings(mode, key))


def stored(mode: str, detail: str, sender: str, recipient: str) -> tuple[str, str, str]:
    """Sender, recipient and detail of a refusal as they are stored."""
    found = veiled(mode, refusal(detail, sender, recipient))
    return found.sender, found.recipient, found.detail


def refusal(detail: str, sender: str = "", recipient: str = "", helo: str = "", code: int = 571) -> Event:
    return Event(
        id="x",
        at=Instant(1),
        kind="rcpt",
        client=Client("192.0.2.7"),
        address=Address("192.0.2.7"),
        session="mx/1",
        host="mx",
        helo=helo,
        sender=sender,
        recipient=recipient,
        code=code,
        detail=detail,
    )


def veiled(mode: str, event: Event) -> Event:
    """The event as it is stored."""
    return Event(**dict(zip(Event.__struct_fields__, veil(mode).event(astuple(event)), strict=True)))


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


# no `-`: a bare `aA-aA` is no address, and stays
@given(st.text(st.sampled_from("<>@\"' :=.[]aA"), max_size=60), st.text('<>@"a .', max_size=8))
def test_any_text_is_veiled_and_what_is_veiled_has_no_new_words(detail: str, sender: str) -> None:
    assert "aA-aA" not in stored("domain", f"{detail} aA-aA@b.example", sender, "")[2]


_PARTS: Final = (
    *(word for answer in ANSWERS for word in re.split(r"([ :,]+)", answer)),
    *("571", "5.7.1", "571 5.7.1 ", "Recipient", "address", "rejected", "Recipient address rejected: "),
    *(" proto=", " PROTO=", "> sasl_", "> SASL_", ">: ", "<", ">", '"', "@", ".", "[", "]", " ", "GO AWAY: "),
    *("x", "é", "Ⱥ", "İ", "Σ", "K" * 30, "Ⱥ" * 90, "A" * 200),
)
WRITTEN: Final = st.lists(st.sampled_from(_PARTS), max_size=6).map("".join) | st.text(max_size=12)
"""What a client may write who knows our answers and how they are hidden."""


@st.composite
def our_refusals(draw: st.DrawFn) -> Event:
    sender, recipient, helo = draw(WRITTEN), draw(WRITTEN), draw(WRITTEN)
    words, said = draw(
        st.sampled_from(
            [
                (recipient, "Recipient address"),
                (sender, "Sender address"),
                (helo, "Helo command"),
                ("unknown[192.0.2.7]", "Client host"),
            ]
        )
    )
    answer = draw(st.sampled_from([*ANSWERS, "Go away: blocked by administrator: told ada.l@b.example"]))
    placed = draw(st.sampled_from([f"<{words}>: {said} rejected: ", ""]))
    return refusal(f"571 5.7.1 {placed}{answer}", sender, recipient, helo)


@settings(max_examples=1000)
@given(our_refusals(), st.sampled_from(HIDING))
def test_whose_refusal_it_is_can_be_told_as_before_whatever_the_client_wrote(event: Event, mode: str) -> None:
    stored = veiled(mode, event)
    assert spoken_by(stored) == spoken_by(event)
    assert cannot_be_told(stored) == cannot_be_told(event)
    assert "ada.l" not in stored.detail
    assert len(stored.sender.encode()) < MAX_OURS > len(stored.recipient.encode())


@settings(max_examples=500)
@given(not_ours() | ours().map(lambda it: it[0]), st.sampled_from(HIDING))
def test_in_what_postfix_logs_too(event: Event, mode: str) -> None:
    stored = veiled(mode, event)
    assert spoken_by(stored) == spoken_by(event)
    assert is_ours(stored) or not is_ours(event)


@given(
    st.sampled_from("ÄxΣİ \"<>'."),
    st.text("ÄäxΣİß \"<>'.-:", min_size=1, max_size=20),
    st.sampled_from(HIDING),
)
def test_the_clients_own_address_is_not_left_in_our_answer(first: str, rest: str, mode: str) -> None:
    local = f"Qq{first}{rest}qQ"
    for address in (local, f"{local}@example.org"):
        for sender, recipient in ((address, "x"), ("x", address), (address, "qq")):
            for words in (sender, recipient):
                detail = f"571 5.7.1 <{words}>: Recipient address rejected: {ANSWER}"
                found = veiled(mode, refusal(detail, sender, recipient))
                assert spoken_by(found) == "rate"
                assert "qq" not in f"{found.sender} {found.recipient} {found.detail}".lower()


@pytest.mark.parametrize(
    "word", ["Go", "go", "away", "571", "5.7.1", "rejected", "Recipient", "exceeded", "Go away"]
)
def test_a_name_that_is_a_word_of_our_answer_leaves_the_answer(word: str) -> None:
    for mode in HIDING:
        for sender, recipient in ((word, "bob"), ("bob", word)):
            stored = veiled(
                mode,
                refusal(f"571 5.7.1 <{recipient}>: Recipient address rejected: {ANSWER}", sender, recipient),
            )
            end = f"<{stored.recipient}>: Recipient address rejected: {ANSWER}"
            if "Go away" in word:
                assert spoken_by(stored) == ""
            else:
                assert stored.detail == f"571 5.7.1 {end}"
                assert spoken_by(stored) == "rate"


def test_what_a_client_writes_to_be_read_as_the_logs_own_words_is_not_stored() -> None:
    for mode in HIDING:
        for recipient in ("x@a PROTO=y", "x@a> SASL_b", f"x@{'b' * 480}", f"x@{'Ⱥ' * 200}"):
            event = refusal(f"571 5.7.1 <DATA>: Data command rejected: {ANSWER}", recipient, recipient)
            assert spoken_by(veiled(mode, event)) == spoken_by(event) == "rate"
        event = refusal(f"571 5.7.1 <x@a PROTO=y>: Recipient address rejected: {ANSWER}", "", "x@a PROTO=y")
        assert spoken_by(veiled(mode, event)) == spoken_by(event) == "rate"


def test_an_address_in_a_note_is_veiled_and_the_reason_stays() -> None:
    said = "551 5.7.1 <x[192.0.2.7]>: Client host rejected: Go away: blocked by administrator: "
    for mode in HIDING:
        found = stored(mode, f"{said}told ada.l@b.example and 'eve f'@c.example", "", "'eve f'@c.example")[2]
        assert found.startswith(f"{said}told ")
        assert "ada" not in found and "eve" not in found
        many = stored(mode, said + "a@b " * 90, "", "")
        assert many[2].startswith(said) and len(many[2]) < MAX_OURS


def test_what_was_not_believed_is_not_believed_once_the_reason_is_hidden() -> None:
    for mode in HIDING:
        for recipient in ("Go away@example.org", f"{'x' * 520}@example.org"):
            event = refusal(f"571 5.7.1 <DATA>: Data command rejected: {ANSWER}", "", recipient)
            assert cannot_be_told(event) and cannot_be_told(veiled(mode, event))


def test_a_long_address_is_not_told_by_a_short_one_in_it() -> None:
    for mode in HIDING:
        found = stored(mode, 'no "peggy x sue"@example.org here', "x", '"peggy x sue"@example.org')
        assert found[2] == f"no {found[1]} here"


def noted(trigger: Trigger, action: Action, note: str) -> Decision:
    return Decision(
        id="d",
        at=Instant(1),
        until=Instant(2),
        action=action,
        client=Client("192.0.2.7"),
        address=Address("192.0.2.7"),
        trigger=trigger,
        rule="violations",
        code=551,
        reason="x",
        evidence=Evidence(count=3, note=note),
        policy="p",
        event="x",
        session="mx/1",
        host="mx",
    )


def test_of_a_note_that_was_cut_the_last_word_may_be_half_an_address() -> None:
    note = ("COMMAND PIPELINING from x after EHLO: " + "y" * MOST_NOTED)[: MOST_NOTED - 10] + " dave.smit"
    for mode in HIDING:
        gathered = TopicRows(DECISIONS, veiling=veil(mode).event)
        gathered.add(Record(DECISIONS, 0, 1, Instant(3), encode(noted("protocol", "block", note))))
        assert gathered.rows is not None
        [found] = gathered.rows.column("evidence_note")
        assert "after EHLO" in found and "dave" not in found


@pytest.mark.parametrize(
    ("trigger", "action", "note"),
    [
        (
            "protocol",
            "block",
            "COMMAND PIPELINING from [192.0.2.7]:25 after EHLO: MAIL FROM:<dave@secret.org",
        ),
        ("protocol", "block", ""),
        ("blocklist", "block", "asked by dave@secret.org"),
        ("protocol", "release", "asked by dave@secret.org"),
    ],
)
def test_a_violation_in_a_decision_is_stored_as_in_its_event(
    trigger: Trigger, action: Action, note: str
) -> None:
    decision = noted(trigger, action, note)
    for veiling in (*(veil(mode).event for mode in HIDING), None):
        gathered = TopicRows(DECISIONS, veiling=veiling)
        gathered.add(Record(DECISIONS, 0, 1, Instant(3), encode(decision)))
        assert gathered.rows is not None
        [found] = gathered.rows.column("evidence_note")
        if (trigger, action) == ("protocol", "block") and veiling is not None:
            assert found == veiling(astuple(refusal(note, code=0)))[Event.__struct_fields__.index("detail")]
            assert "dave" not in found
        else:
            assert found == note
        assert gathered.rows.column("evidence_count") == [3]


def test_no_pattern_is_compiled_for_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would cost more than all the rest, and a client may write another one each time."""
    one, compiled, compiler = veil("hash"), [], import_module("re._compiler")
    compiles = compiler.compile

    def counted(*given: object) -> object:
        compiled.append(given)
        return compiles(*given)

    def told(number: int) -> str:
        sender, recipient = f"odd {number}@a.example", f"odd {number}@b.example"
        return str(one.event(astuple(refusal(f"<{recipient}>: no", sender, recipient))))

    told(0)
    monkeypatch.setattr(compiler, "compile", counted)
    found = [told(number) for number in range(1, 20)]
    monkeypatch.undo()
    assert compiled == []
    assert not any("odd" in it for it in found)


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
