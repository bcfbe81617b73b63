"""The words of notices and messages, and what may never be in them."""

from zoneinfo import ZoneInfo

import pytest

from streams.agents.notify.digest import Digest
from streams.agents.notify.message import MAX_BODY, Message
from streams.agents.notify.notices import MAX_LINE, SHADOW, lines_of, notice_of, plain, remedies_of
from streams.model.decision import Decision, LimitWarning
from streams.model.instant import MICROSECONDS
from streams.model.modules import TOPICS_OF_NOTICE, Notify
from tests.notify_sinks import block, warning

UTC = ZoneInfo("UTC")
NOW = 1_700_000_100 * MICROSECONDS


def told(*sources: Decision | LimitWarning, policy: Notify | None = None) -> Message:
    """The one message about these, at once."""
    policy = policy or Notify(digest_s=0)
    digest = Digest()
    for source in sources:
        notice = notice_of(source, policy.about)
        assert notice is not None
        digest.take(notice, NOW, policy)
    outgoing = digest.compose(NOW, policy)
    assert outgoing is not None
    return outgoing.message


def test_a_block_says_until_when_why_the_evidence_and_the_commands() -> None:
    message = told(block(1), policy=Notify(digest_s=0, timezone="Europe/Berlin"))
    assert message.title == "goaway: 1 block (192.0.2.7)"
    assert message.body.splitlines() == [
        "1 block, 2023-11-14 23:15:00 CET",
        "",
        "192.0.2.7",
        "  2023-11-14 23:13:20 CET on mx1: blocked until 2023-11-14 23:18:20 CET",
        "  why: 551 exceeded connection rate limit",
        "  evidence: requests_per_minute at 21 in 60 s, limit 20, block 2 in a row",
        "  let it in now: goaway unblock 192.0.2.7",
        "  for good: goaway exempt rate 192.0.2.7",
    ]


@pytest.mark.parametrize(
    ("trigger", "module"), [("reputation", "dnsbl"), ("greylist", "greylist"), ("protocol", "protocol")]
)
def test_the_exemption_is_that_of_the_module(trigger: str, module: str) -> None:
    notice = notice_of(block(1, trigger=trigger), ("block",))
    assert notice is not None
    assert remedies_of(notice)[1] == f"for good: goaway exempt {module} 192.0.2.7"


def test_of_a_network_the_whole_client_is_exempted() -> None:
    notice = notice_of(block(1, client="2001:db8::/64"), ("block",))
    assert notice is not None
    assert remedies_of(notice) == (
        "let it in now: goaway unblock 2001:db8::1",
        "for good: goaway exempt rate 2001:db8::/64",
    )


def test_warnings_say_how_close_it_is_and_trouble_its_own_words() -> None:
    body = told(
        warning(1, client="192.0.2.9"), warning(2, client="zen.example", about="zone", text="does not answer")
    ).body
    assert "on mx1: requests_per_minute at 16 in 60 s, limit 20" in body
    assert "zen.example\n  2023-11-14 22:13:20 UTC: does not answer" in body


def test_only_what_is_asked_for_is_told() -> None:
    assert notice_of(warning(1), ("block",)) is None
    assert notice_of(block(1), ("limit",)) is None
    assert notice_of(block(1, shadow=True), Notify().about) is None
    shadow = notice_of(block(1, shadow=True), TOPICS_OF_NOTICE)
    assert notice_of(block(1), (SHADOW,)) is None
    assert shadow is not None
    assert "would be blocked (shadow)" in lines_of(shadow, UTC)[0]


def test_what_a_remote_wrote_never_becomes_markup() -> None:
    evil = (
        'x\n\n<a href="//evil">@everyone</a> [safe](http://evil) `rm` **b** <!channel>\u202e\x00' + "y" * 9999
    )
    body = told(warning(1, client="zen.example", about="zone", text=evil)).body
    line = next(line for line in body.splitlines() if "evil" in line)
    assert not set("<>@`*\\|~") & set(body)
    assert "](" not in body
    assert "\u202e" not in body
    assert "\x00" not in body
    assert len(line) <= MAX_LINE + 2
    assert plain("a\nb") == "a b"


def test_a_message_is_bounded_and_counts_what_it_leaves_out() -> None:
    long = "long " * 60
    policy = Notify(digest_s=0)
    message = told(
        *(warning(n, client=f"zone{n}", about="zone", text=long) for n in range(1000)), policy=policy
    )
    assert len(message.body) <= MAX_BODY
    assert message.body.startswith("1000 notices about zones, ")
    assert message.counts == {"zone": 1000}
    others = int(message.body.rpartition("others: ")[2])
    assert others == 1000 - len(message.named) - 40
