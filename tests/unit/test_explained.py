"""What `explain` makes of what it has read: the answer, what refuses besides blocks, what sets the limits."""

from dataclasses import replace
from typing import Any

import click
import msgspec

from streams.audit.known import Known
from streams.audit.lately import Lately, Refused
from streams.cli.explain import _as_json, _shown
from streams.cli.explained import MOST, Explained
from streams.model.client import Client, parse_address
from streams.model.decision import Decision, Evidence
from streams.model.instant import Instant
from streams.model.standing import PolicyIndex
from streams.wire.policy_toml import read_policy
from tests.policy_cases import NOW, decision

ADDRESS = "192.0.2.1"
_S = 1_000_000
HELO = "[protocol]\ninvalid_helo = true\n"
HELO_SHADOW = HELO + '[shadow]\nrules = ["invalid_helo"]\n'
GREYLIST = "[greylist]\nenabled = true\ndelay_s = 20\n"


def explained(policy: str = "", *decisions: Decision, **fields: Any) -> Explained:
    values: dict[str, Any] = {"known": None, "lately": Lately(), "storage": "", "trouble": {}}
    return Explained(
        address=parse_address(ADDRESS),
        client=Client(ADDRESS),
        change=0,
        whole=PolicyIndex(read_policy(policy)),
        at=NOW,
        decisions=list(decisions),
        **(values | fields),
    )


def block(**fields: Any) -> Decision:
    made = decision("rate", ADDRESS, NOW - _S, NOW + 60 * _S, "exceeded connection rate limit")
    return msgspec.structs.replace(made, **fields)


def known(*helo: str) -> Known:
    return Known(1, 1, 0, 0, 0, 0, Instant(NOW), Instant(NOW), helo, (), ("mx",))


def said(it: Explained) -> str:
    return " ".join(click.unstyle(" ".join(_shown(it, 100))).split())


def commands(it: Explained) -> list[str]:
    return [finding.command for finding in it.findings]


def test_the_answer_is_in_the_words_and_codes_that_the_policy_has_now() -> None:
    old = block(code=554)
    assert explained("", old).answer.startswith("551 5.7.1 Go away: ")
    assert explained("", msgspec.structs.replace(old, trigger="greylist")).answer == ""
    words = explained('[replies]\nconnect_code = 554\nopening = "No"\n', old)
    assert words.answer == "554 5.7.1 No: exceeded connection rate limit"
    assert explained("", block(code=571)).answer.startswith("571 "), "an open session is told so"
    no_retry = block(code=554, trigger="greylist")
    assert explained(GREYLIST, no_retry).answer.startswith("571 ")


def test_a_name_that_is_no_helo_is_said_to_refuse_its_mail() -> None:
    found = explained(HELO, known=known("mail.example.org", "192.0.2.1"))
    assert "Now let in; its mail is refused: SMTP protocol violation: invalid HELO" in said(found)
    assert commands(found) == ["goaway exempt protocol 192.0.2.1"]
    for policy, name in ((HELO, "mail.example.org."), ("", "192.0.2.1"), (HELO_SHADOW, "192.0.2.1")):
        assert explained(policy, known=known(name)).invalid_helo == ""
    exempt = HELO + f'[[exemptions]]\nmodule = "protocol"\naddress = "{ADDRESS}"\n'
    assert explained(exempt, known=known("192.0.2.1")).invalid_helo == ""


def test_new_mail_of_a_stranger_is_put_off_first() -> None:
    assert "Now let in; new mail is put off first (greylist), 20 s" in said(explained(GREYLIST))
    assert _as_json(explained(GREYLIST))["put_off_s"] == 20
    learnt = block(trigger="greylist", action="pass")
    assert explained(GREYLIST, learnt).put_off_s == 0
    assert explained("").put_off_s == 0


def test_what_was_decided_and_answered_lately_is_shown() -> None:
    dropped = block(action="release", rule="forgotten", reason="dropped", evidence=Evidence(note="by ada"))
    late = Lately(
        (dropped, block(until=Instant(NOW), shadow=True, rule="requests_per_minute")),
        (Refused(571, "5.7.1 Go away: \x1b[2J", 3, Instant(NOW)),),
    )
    text = said(explained("", lately=late))
    assert "released: dropped by ada" in text
    assert "in shadow, refused nobody: rate block until" in text
    assert "571, 3 times: 5.7.1 Go away: \\x1b[2J" in text
    found = _as_json(explained("", lately=late))
    assert [it["action"] for it in found["decided"]] == ["release", "block"]
    assert [(it["code"], it["count"]) for it in found["answered"]] == [(571, 3)]


def test_a_stored_block_that_kafka_lost_is_said_to_stand_with_a_shim_perhaps() -> None:
    lost = Lately((block(),))
    found = explained("", lately=lost)
    assert commands(found) == [f"goaway unblock {ADDRESS}"]
    assert found.answer == ""
    released = block(action="release", at=Instant(NOW))
    for decisions, late in (
        ((block(),), lost),
        ((released,), lost),
        ((), Lately((released, block()))),
        ((), Lately((block(rule="forgotten", action="release", trigger="greylist"), block()))),
        ((), Lately((block(shadow=True), block(until=Instant(NOW))))),
    ):
        assert explained("", *decisions, lately=late)._lost is None


def test_a_lost_block_is_found_behind_a_later_defer_and_many_others() -> None:
    lost = block(trigger="greylist")
    defer = block(trigger="greylist", action="defer", at=Instant(NOW - 1), triplet="a:b")
    assert explained("", defer, lately=Lately((lost,)))._lost == lost
    later = [block(id=str(n), rule=f"rule{n}", shadow=True, at=Instant(NOW - n)) for n in range(8)]
    found = explained("", lately=Lately((*later, lost)))
    assert found._lost == lost
    assert len(_as_json(found)["decided"]) == MOST
    assert said(found).count("in shadow, refused nobody") == MOST


def test_a_block_that_was_decided_after_kafka_was_read_is_not_lost() -> None:
    late = Lately((block(at=Instant(NOW + 1)),))
    assert explained("", lately=late)._lost is None
    forgotten = block(rule="forgotten", action="release", at=Instant(NOW + 1))
    assert explained("", lately=Lately((forgotten, block())))._lost is not None


def test_a_schedule_that_sets_a_limit_is_named() -> None:
    always = '[limits]\nrequests_per_minute = 40\n[[schedules]]\nname = "quiet"\nrequests_per_minute = 7\n'
    other = '[[schedules]]\nname = "other"\nconnections_per_minute = 30\n'
    found = explained(always + other)
    assert found.schedules == {"quiet": ["requests_per_minute"]}
    assert "from [limits] with [[schedules]] quiet (requests_per_minute)" in said(found)
    assert _as_json(found)["limits"]["schedules"] == {"quiet": ["requests_per_minute"]}
    assert explained("").schedules == {}
    assert replace(found, at=NOW + _S).schedules == found.schedules
