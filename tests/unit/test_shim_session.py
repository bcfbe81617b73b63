"""What is judged inside a session, and which decisions stand at which stage, under which policy."""

import pytest
from msgspec.structs import replace

from streams.model.client import Client, parse_network
from streams.model.decision import Trigger
from streams.model.instant import MICROSECONDS, Instant
from streams.model.modules import Greylist, Protocol, Reputation, Zone
from streams.model.policy import Block, Exemption, Limits, Module, NetworkRule, Policy, Suspension
from streams.model.standing import PolicyIndex
from streams.shim.answers import Answers
from streams.shim.greylist import GreylistMemory
from streams.shim.smtp_rules import is_forged, is_helo_name
from streams.shim.table import DecisionTable
from streams.wire.policy_protocol import PolicyReader, PolicyRequest
from tests.policy_cases import NOW, decision
from tests.shim_process import asked

CLIENT = "192.0.2.1"
GREYLIST = Policy(greylist=Greylist(enabled=True))
JUDGING = Policy(greylist=Greylist(enabled=True), zones=(Zone(domain="reputation_rule", name="Zen"),))
"""Every module is on."""
PROTOCOL = Policy(protocol=Protocol(invalid_helo=True, forged_sender=True))
MAIL = {"sender": "a@example.org", "recipient": "b@example.com"}
PUT_OFF = "451 4.7.1 Go away: greylisted, retry in 600 s"


def _request(stage: str = "RCPT", /, **attributes: str) -> PolicyRequest:
    (request,) = PolicyReader().feed(asked(CLIENT, stage, **attributes))
    assert isinstance(request, PolicyRequest)
    return request


def _answer(policy: Policy | Answers, stage: str = "RCPT", now: int = NOW, /, **attributes: str) -> str:
    answers = policy if isinstance(policy, Answers) else Answers(PolicyIndex(policy), DecisionTable())
    found = answers.refusal(_request(stage, **attributes), now)
    return "DUNNO" if found is None else found.action.decode()[len("action=") : -2]


def _held(trigger: Trigger, policy: Policy | None = None, *, shadow: bool = False) -> Answers:
    table = DecisionTable()
    table.apply(replace(decision(trigger, CLIENT, NOW, NOW + 100, "no"), shadow=shadow), NOW)
    return Answers(PolicyIndex(policy or JUDGING), table)


def _exempt(module: Module, policy: Policy) -> Policy:
    return replace(policy, exemptions=(Exemption(module=module, network=parse_network(CLIENT)),))


def _suspended(module: Module, policy: Policy) -> Policy:
    return replace(policy, suspensions=(Suspension(module=module, until=Instant(NOW + 10)),))


def _internal(policy: Policy) -> Policy:
    rule = NetworkRule(network=parse_network("192.0.2.0/24"), name="ours", limits=Limits(), internal=True)
    return replace(policy, networks=(rule,))


def test_a_first_attempt_is_put_off_and_its_retry_passes() -> None:
    answers = Answers(PolicyIndex(GREYLIST), DecisionTable())
    assert _answer(answers, **MAIL) == PUT_OFF
    assert _answer(answers, "RCPT", NOW + 1, **MAIL) == PUT_OFF
    assert _answer(answers, "RCPT", NOW + 599_500_000, **MAIL).endswith("retry in 1 s")
    assert _answer(answers, "RCPT", NOW + 600 * MICROSECONDS, **MAIL) == "DUNNO"
    assert answers.session.greylisted == 3


@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "HELO", "MAIL", "DATA", "END-OF-MESSAGE", "odd"])
def test_only_recipients_are_put_off(stage: str) -> None:
    assert _answer(GREYLIST, stage, **MAIL) == "DUNNO"


def test_the_null_sender_is_put_off_at_data_and_postmaster_never_is() -> None:
    bounce = {"sender": "", "recipient": "b@example.com"}
    assert _answer(GREYLIST, **bounce) == "DUNNO"
    assert _answer(GREYLIST, "DATA", **bounce) == PUT_OFF
    assert _answer(GREYLIST, "DATA") == PUT_OFF, "several recipients: Postfix names none"
    for recipient in ("postmaster@example.com", "Postmaster"):
        assert _answer(GREYLIST, **MAIL | {"recipient": recipient}) == "DUNNO"
    assert _answer(GREYLIST, **MAIL | {"recipient": "postmasters@example.com"}) == PUT_OFF


def test_who_logged_in_is_put_off_only_where_the_policy_says_so() -> None:
    too = replace(GREYLIST, greylist=Greylist(enabled=True, authenticated=True))
    assert _answer(GREYLIST, sasl_username="jane", **MAIL) == "DUNNO"
    assert _answer(too, sasl_username="jane", **MAIL) == PUT_OFF


def test_internal_clients_are_put_off_only_where_the_policy_says_so() -> None:
    too = replace(GREYLIST, greylist=Greylist(enabled=True, internal=True))
    assert _answer(_internal(GREYLIST), **MAIL) == "DUNNO"
    assert _answer(_internal(too), **MAIL) == PUT_OFF


def test_exempt_suspended_and_in_shadow_nobody_is_put_off() -> None:
    assert _answer(_exempt("greylist", GREYLIST), **MAIL) == "DUNNO"
    assert _answer(_exempt("rate", GREYLIST), **MAIL) == PUT_OFF
    assert _answer(_suspended("greylist", GREYLIST), **MAIL) == "DUNNO"
    assert _answer(_suspended("greylist", GREYLIST), "RCPT", NOW + 10, **MAIL) == PUT_OFF
    shadow = Answers(PolicyIndex(replace(GREYLIST, shadow=("greylist",))), DecisionTable())
    assert _answer(shadow, **MAIL) == "DUNNO"
    assert (shadow.session.in_shadow, shadow.session.greylisted) == (1, 0)


def test_the_pool_is_that_of_a_verified_name() -> None:
    memory = GreylistMemory(GREYLIST.greylist)
    answers = Answers(PolicyIndex(GREYLIST), DecisionTable(), memory)
    _answer(answers, client_name="mail1.out.example.org", **MAIL)
    assert memory.triplets == 2
    for name in ("unknown", "x" * 5000 + ".example.org", "h192-0-2-1.isp.example"):
        _answer(answers, client_name=name, sender=f"{name[:9]}@example.net", recipient="b@example.com")
    assert memory.triplets == 5


@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "HELO"])
def test_a_client_that_does_not_retry_may_still_connect(stage: str) -> None:
    answers = _held("greylist")
    assert _answer(answers, stage) == "DUNNO"
    for later in ("MAIL", "RCPT", "DATA", "END-OF-MESSAGE"):
        assert _answer(answers, later) == "571 5.7.1 Go away: no"


@pytest.mark.parametrize(
    ("trigger", "module"),
    [("rate", "rate"), ("reputation", "dnsbl"), ("greylist", "greylist"), ("protocol", "protocol")],
)
def test_exemption_suspension_and_shadow_lift_what_stands(trigger: Trigger, module: Module) -> None:
    assert _answer(_held(trigger)) == "571 5.7.1 Go away: no"
    for policy in (
        _exempt(module, JUDGING),
        _suspended(module, JUDGING),
        replace(JUDGING, shadow=(trigger,)),
        replace(JUDGING, shadow=(f"{trigger}_rule",)),
    ):
        assert _answer(_held(trigger, policy)) == "DUNNO"
        answers = _held(trigger)
        assert _answer(answers) != "DUNNO"
        answers.use(PolicyIndex(policy))
        assert _answer(answers) == "DUNNO"
    other: Module = "rate" if module != "rate" else "dnsbl"
    assert _answer(_held(trigger, _exempt(other, JUDGING))) != "DUNNO"
    assert _answer(_held(trigger, shadow=True)) == "DUNNO"


@pytest.mark.parametrize(
    ("trigger", "off"),
    [
        ("reputation", replace(JUDGING, zones=())),
        ("reputation", replace(JUDGING, zones=(Zone(domain="reputation_rule", enabled=False),))),
        ("reputation", replace(JUDGING, zones=(Zone(domain="another.example"),))),
        ("greylist", replace(JUDGING, greylist=Greylist())),
        ("reputation", _internal(JUDGING)),
        ("greylist", _internal(JUDGING)),
        ("protocol", _internal(JUDGING)),
    ],
)
def test_what_is_switched_off_refuses_nobody_any_more(trigger: Trigger, off: Policy) -> None:
    answers = _held(trigger)
    assert _answer(answers) == "571 5.7.1 Go away: no"
    answers.use(PolicyIndex(off))
    assert _answer(answers) == "DUNNO"
    answers.use(PolicyIndex(JUDGING))
    assert _answer(answers) == "571 5.7.1 Go away: no"


def test_a_violation_that_is_switched_off_refuses_nobody_any_more() -> None:
    table = DecisionTable()
    table.apply(replace(decision("protocol", CLIENT, NOW, NOW + 100, "no"), rule="missing_helo"), NOW)
    assert _answer(Answers(PolicyIndex(JUDGING), table)) == "571 5.7.1 Go away: no"
    off = replace(JUDGING, protocol=Protocol(missing_helo=False))
    assert _answer(Answers(PolicyIndex(off), table)) == "DUNNO"


def test_internal_clients_are_refused_where_the_policy_judges_them_too() -> None:
    too = _internal(replace(JUDGING, reputation=Reputation(internal=True)))
    assert _answer(_held("reputation", too)) == "571 5.7.1 Go away: no"
    assert _answer(_held("rate", _internal(JUDGING))) == "571 5.7.1 Go away: no"


def test_one_of_several_zones_is_enough() -> None:
    table = DecisionTable()
    text = "IP listed in DNSBL: [Zen], [Other]"
    table.apply(decision("reputation", CLIENT, NOW, NOW + 100, text), NOW)
    other = replace(JUDGING, zones=(Zone(domain="other.example", name="Other"),))
    assert _answer(Answers(PolicyIndex(other), table)) == f"571 5.7.1 Go away: {text}"


def test_a_suspension_ends_by_itself() -> None:
    answers = _held("rate", _suspended("rate", Policy()))
    assert _answer(answers, "RCPT", NOW + 9) == "DUNNO"
    assert _answer(answers, "RCPT", NOW + 10) == "571 5.7.1 Go away: no"


def test_an_administrators_block_ends_and_nothing_lifts_it_before() -> None:
    block = Block(network=parse_network("192.0.2.0/24"), note="spam", expires=Instant(NOW + 5))
    policy = _exempt("rate", _suspended("rate", Policy(blocks=(block,), shadow=("rate",))))
    answers = Answers(PolicyIndex(policy), DecisionTable())
    assert _answer(answers, "RCPT", NOW + 4) == "571 5.7.1 Go away: blocked by administrator: spam"
    assert _answer(answers, "RCPT", NOW + 5) == "DUNNO"
    refusal = answers.refusal(_request(), NOW)
    assert refusal is not None
    assert str(refusal).endswith("(blocks, until 1970-01-01T00:01:40.000005Z)")


def test_what_stands_answers_before_greylisting_and_a_violation_too() -> None:
    both = replace(GREYLIST, protocol=Protocol(invalid_helo=True))
    assert _answer(_held("protocol", both), **MAIL) == "571 5.7.1 Go away: no"
    answers = Answers(PolicyIndex(both), DecisionTable())
    assert _answer(answers, helo_name="a b", **MAIL).startswith("571 5.7.1 Go away: SMTP protocol violation")
    assert _answer(answers, "RCPT", NOW + 1, helo_name="mail", **MAIL) == PUT_OFF, "it was not remembered"


@pytest.mark.parametrize("stage", ["EHLO", "HELO", "MAIL", "RCPT", "DATA"])
def test_an_invalid_helo_is_refused_once_it_is_said(stage: str) -> None:
    said = "571 5.7.1 Go away: SMTP protocol violation: invalid HELO"
    assert _answer(PROTOCOL, stage, helo_name="192.0.2.1") == said
    assert _answer(PROTOCOL, stage, helo_name="mail.example.org") == "DUNNO"
    assert _answer(PROTOCOL, stage) == "DUNNO"
    assert _answer(PROTOCOL, "CONNECT", helo_name="192.0.2.1") == "DUNNO"
    assert _answer(Policy(protocol=Protocol(forged_sender=True)), stage, helo_name="192.0.2.1") == "DUNNO"


def test_a_forged_sender_is_refused() -> None:
    said = "571 5.7.1 Go away: SMTP protocol violation: forged sender"
    assert _answer(PROTOCOL, sasl_username="jane@example.org", sender="x@example.net") == said
    assert _answer(PROTOCOL, sasl_username="jane@example.org", sender="x@example.org") == "DUNNO"
    assert _answer(PROTOCOL, sasl_username="", sender="x@example.net") == "DUNNO"
    off = Policy(protocol=Protocol(invalid_helo=True))
    assert _answer(off, sasl_username="jane@example.org", sender="x@example.net") == "DUNNO"


@pytest.mark.parametrize("rule", ["protocol", "invalid_helo"])
def test_protocol_is_lifted_like_the_others(rule: str) -> None:
    bad = {"helo_name": "_-"}
    assert _answer(PROTOCOL, **bad) != "DUNNO"
    assert _answer(_exempt("protocol", PROTOCOL), **bad) == "DUNNO"
    assert _answer(_suspended("protocol", PROTOCOL), **bad) == "DUNNO"
    assert _answer(_internal(PROTOCOL), **bad) == "DUNNO"
    too = replace(PROTOCOL, protocol=replace(PROTOCOL.protocol, internal=True))
    assert _answer(_internal(too), **bad) != "DUNNO"
    shadow = Answers(PolicyIndex(replace(PROTOCOL, shadow=(rule,))), DecisionTable())
    assert _answer(shadow, **bad) == "DUNNO"
    assert shadow.session.in_shadow == 1


def test_counts_outlive_a_change_of_policy() -> None:
    answers = Answers(PolicyIndex(GREYLIST), DecisionTable())
    _answer(answers, **MAIL)
    answers.use(PolicyIndex(replace(GREYLIST, shadow=("greylist",))))
    _answer(answers, **MAIL)
    answers.use(PolicyIndex(Policy()))
    assert _answer(answers, **MAIL) == "DUNNO"
    assert (answers.session.greylisted, answers.session.in_shadow) == (1, 1)


def test_a_refusal_shows_what_was_judged_bounded_and_escaped() -> None:
    answers = Answers(PolicyIndex(PROTOCOL), DecisionTable())
    refusal = answers.refusal(_request(helo_name="\x1b[2J" + "é" * 4000), NOW)
    assert refusal is not None
    text = str(refusal)
    assert text.isascii()
    assert text.isprintable()
    assert "(invalid_helo, helo_name=<?[2J??" in text
    assert len(text) < 400
    put_off = Answers(PolicyIndex(GREYLIST), DecisionTable()).refusal(_request(**MAIL), NOW)
    assert str(put_off) == (
        f"refused {CLIENT} at RCPT: {PUT_OFF} (first_attempt, sender=<a@example.org>, "
        "recipient=<b@example.com>, until 1970-01-01T00:11:40.000000Z)"
    )


def test_a_verdict_is_awaited_only_where_it_would_count() -> None:
    def awaited(policy: Policy, held: Trigger | None = None) -> Client | None:
        answers = _held(held, policy) if held else Answers(PolicyIndex(policy), DecisionTable())
        return answers.awaited(_request(), NOW)

    assert awaited(Policy()) == CLIENT
    assert awaited(Policy(), "rate") is None
    assert awaited(Policy(shadow=("rate",)), "rate") == CLIENT
    assert awaited(_exempt("dnsbl", Policy())) is None
    assert awaited(_exempt("rate", Policy())) == CLIENT
    assert awaited(_suspended("dnsbl", Policy())) is None
    assert awaited(_internal(Policy())) is None
    assert awaited(Policy(blocks=(Block(network=parse_network(CLIENT)),))) is None
    assert Answers(PolicyIndex(Policy()), DecisionTable()).awaited(PolicyRequest(b"unknown"), NOW) is None


@pytest.mark.parametrize(
    "name",
    [
        "mail.example.org", "localhost", "WIN_SERVER.local", "a-b.c", "x" * 63 + ".org",
        "xn--bcher-kva.example", "[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::1]", "1.2.3.4.example",
        "127.0.0.1.com", "mail.example.org.", "localhost.",
    ],
)  # fmt: skip
def test_helo_names(name: str) -> None:
    assert is_helo_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "192.0.2.1", "2001:db8::1", "[192.0.2]", "[::1]", "[IPv6:192.0.2.1]", "[IPv6:fe80::1%eth0]", "[]",
        "[a", "a b", "a..b", ".", "a..", ".a", "192.0.2.1.", "-a.org", "a-.org", "mail.example.org\n",
        "bücher.example", "x" * 64,
        ".".join(["x" * 60] * 5), "a@b", "<a>", "123", "٣.example",
    ],
)  # fmt: skip
def test_what_is_no_helo_name(name: str) -> None:
    assert not is_helo_name(name)


@pytest.mark.parametrize(
    ("sender", "login", "forged"),
    [
        ("a@example.org", "jane@example.org", False),
        ("a@Example.ORG.", "jane@example.org", False),
        ("a@example.net", "jane@example.org", True),
        ("a@lists.example.org", "jane@example.org", True),
        ("a@example.net", "jane", False),
        ("", "jane@example.org", False),
        ("jane", "jane@example.org", False),
        ('"x@example.org"@example.net', "jane@example.org", True),
        ("a@bücher.example", "jane@xn--bcher-kva.example", False),
        ("a@" + "ü" * 300, "jane@example.org", True),
    ],
)
def test_forged_senders(sender: str, login: str, forged: bool) -> None:
    assert is_forged(sender, login) is forged
