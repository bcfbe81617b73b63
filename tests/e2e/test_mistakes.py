"""The nine classic mistakes, made for real: what `goaway explain` says of each, and its command helps."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.running import LET_IN, PARTITIONS, REFUSED, RunningUp, WrittenLog, goaway, until
from tests.rbldnsd import ENTRIES, Rbldnsd, zone_file

pytestmark = pytest.mark.needs("tansu", "rbldnsd")

LISTED: Final = "IP listed in DNSBL: [BL]"
PARTNER: Final = "203.0.113.250"
POLICY: Final = f"""
[limits]
cool_down_s = 300

[reputation]
resolvers = ["RESOLVER"]
timeout_ms = 500
health_every_s = 1
partners_every_s = 1

[greylist]
enabled = true

[[networks]]
cidr = "198.51.100.0/24"
name = "the newsletter house"
concurrent_connections = 50

[[zones]]
domain = "bl.example"
name = "BL"
delisting = "https://bl.example/remove"

[[zones]]
domain = "gone.example"
name = "Gone"

[[partners]]
address = "{PARTNER}"
name = "ACME"
"""


class Desk:
    """An administrator's: a running `goaway up`, the log that it follows, and the commands."""

    def __init__(self, folder: Path, resolver: str) -> None:
        self.log = WrittenLog(folder / "mail.log")
        self.up = RunningUp(folder, self.log.path, policy=POLICY.replace("RESOLVER", resolver))

    def explain(self, address: str) -> dict[str, Any]:
        """What it says, for programs; and that every line for people fits 80 columns and says the same."""
        text = self.up.goaway("explain", address)
        print(f"\n$ goaway explain {address}\n{text}")
        assert max(map(len, text.splitlines())) <= 80
        found = self.up.explained(address)
        words = " ".join(text.split())
        for one in found["findings"]:
            assert " ".join(one["what"].split()) in words
            assert (one["command"] or "") in words
        assert (found["refused"] or "let in") in words
        return found

    def help(self, found: dict[str, Any], about: str, command: str) -> None:
        """The finding that says so names this command; run it."""
        (one,) = [one for one in found["findings"] if about in one["what"]]
        assert one["command"] == command
        print(f"$ {command}\n{self.up.run_advice(command)}")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    listed = zone_file(ENTRIES + f"203.0.116.5\n{PARTNER}\n")
    with Rbldnsd({"bl.example": ("ip4set", listed)}) as dns_server:
        made = Desk(tmp_path_factory.mktemp("mistakes"), dns_server.address)
        with made.up:
            until(
                lambda: made.up.facts("reputation").get("partitions") == PARTITIONS,
                lambda: f"the reputation stage\n{made.up.explain()}",
            )
            yield made


def test_exempt_in_the_wrong_module(desk: Desk) -> None:
    desk.up.goaway("exempt", "greylist", "203.0.111.10", "--note", "our customer")
    desk.log.connect("203.0.111.10", 12)
    desk.up.wait_answer("203.0.111.10")
    found = desk.explain("203.0.111.10")
    assert found["refused"] == REFUSED
    desk.help(
        found,
        "it is exempt from greylist, but what refuses it is rate",
        "goaway exempt rate 203.0.111.10",
    )
    desk.up.wait_answer("203.0.111.10", LET_IN, seconds=2.0)


def test_a_single_address_where_a_network_was_meant(desk: Desk) -> None:
    desk.up.goaway("exempt", "rate", "203.0.114.10", "--note", "our customer")
    desk.log.connect("203.0.114.77", 12)
    desk.up.wait_answer("203.0.114.77")
    desk.help(
        desk.explain("203.0.114.77"),
        "203.0.114.10 is exempt from rate (our customer), a single address",
        "goaway exempt rate 203.0.114.0/24",
    )
    desk.up.wait_answer("203.0.114.77", LET_IN, seconds=2.0)


def test_a_range_with_a_dash(desk: Desk) -> None:
    desk.log.connect("203.0.115.17", 12)
    desk.up.wait_answer("203.0.115.17")
    for command in (("exempt", "rate"), ("explain",), ("unblock",)):
        said = desk.up.goaway(*command, "203.0.115.16-203.0.115.19", code=2)
        assert "203.0.115.16/30" in said, said
    desk.up.goaway("exempt", "rate", "203.0.115.16/30")
    desk.up.wait_answer("203.0.115.17", LET_IN, seconds=2.0)


def test_a_command_reaches_the_folder_that_explain_was_given(desk: Desk) -> None:
    desk.up.goaway("suspend", "protocol")
    found = goaway("explain", "192.0.2.1", "--data", str(desk.up.data), "--json")
    (one,) = [one for one in json.loads(found.stdout)["findings"] if "suspended" in one["what"]]
    assert one["command"] == f"goaway resume protocol --data {desk.up.data}"
    desk.up.run_advice(one["command"])
    assert desk.up.explained("192.0.2.1")["modules"]["protocol"] == "judges it"


def test_concurrency_raised_but_rate_not(desk: Desk) -> None:
    desk.log.request("198.51.100.7", 21)
    desk.up.wait_answer("198.51.100.7")
    found = desk.explain("198.51.100.7")
    assert found["stands"][0]["rule"] == "requests_per_minute"
    desk.help(
        found,
        "198.51.100.0/24 raises concurrent_connections to 50, but requests_per_minute is still 20",
        "goaway policy set networks.198.51.100.0/24.requests_per_minute 42",
    )
    desk.help(found, "to let it in now", "goaway unblock 198.51.100.7")
    desk.up.wait_answer("198.51.100.7", LET_IN, seconds=2.0)
    desk.log.request("198.51.100.7", 21)
    time.sleep(1.0)
    assert desk.up.ask("198.51.100.7") == LET_IN


def test_a_dnsbl_exemption_while_an_old_session_is_open(desk: Desk) -> None:
    desk.log.connect("203.0.116.5", 1)
    desk.up.wait_answer("203.0.116.5", f"551 5.7.1 Go away: {LISTED}")
    assert desk.up.ask("203.0.116.5", "RCPT") == f"571 5.7.1 Go away: {LISTED}"
    found = desk.explain("203.0.116.5")
    assert any("https://bl.example/remove" in one["what"] for one in found["findings"])
    desk.help(found, "never to judge it by dnsbl again", "goaway exempt dnsbl 203.0.116.5")
    until(lambda: desk.up.ask("203.0.116.5", "RCPT") == LET_IN, "the open session", seconds=2.0)
    found = desk.explain("203.0.116.5")
    assert found["refused"] is None
    (one,) = [one for one in found["findings"] if "on record but does not refuse" in one["what"]]
    assert "also in a session that is open" in one["what"]
    assert one["command"] is None


def test_an_internal_address_is_greylisted(desk: Desk) -> None:
    attributes = {"sender": "scanner@example.org", "recipient": "anna@example.org"}
    answer = desk.up.ask("10.1.2.3", "RCPT", **attributes)
    assert answer == "451 4.7.1 Go away: greylisted, retry in 600 s"
    desk.log.deferred("10.1.2.3", **attributes, answer=answer)
    until(lambda: bool(desk.up.explained("10.1.2.3")["greylisted"]), "the first attempt on record")
    found = desk.explain("10.1.2.3")
    assert found["refused"] is None
    assert any("first attempt" in one["what"] for one in found["findings"])
    desk.help(
        found,
        "a private address, but in no network marked internal",
        "goaway policy set networks.10.1.2.0/24.internal true",
    )
    until(
        lambda: desk.up.ask("10.1.2.3", "RCPT", **attributes) == LET_IN, "the internal network", seconds=2.0
    )
    found = desk.explain("10.1.2.3")
    assert (found["modules"]["greylist"], found["greylisted"]) == ("let off: 10.1.2.0/24 is internal", [])


def test_a_partner_is_listed(desk: Desk) -> None:
    until(
        lambda: any("partner ACME" in one["what"] for one in desk.up.explained(PARTNER)["findings"]),
        lambda: f"the warning\n{desk.up.explain()}",
        seconds=15.0,
    )
    found = desk.explain(PARTNER)
    (one,) = [one for one in found["findings"] if "partner ACME" in one["what"]]
    assert "is listed in [BL]: delisting page https://bl.example/remove" in one["what"]
    desk.help(found, "partner ACME", f"goaway exempt dnsbl {PARTNER} --expires 7d")
    desk.log.connect(PARTNER, 1)
    time.sleep(1.0)
    assert desk.up.ask(PARTNER) == LET_IN


def test_a_zone_is_dead(desk: Desk) -> None:
    until(
        lambda: desk.up.facts("reputation").get("zones_out") == "gone.example",
        lambda: f"the zone to be out\n{desk.up.explain()}",
        seconds=15.0,
    )
    found = desk.explain("192.0.2.9")
    assert found["refused"] is None
    desk.help(
        found, "zone [Gone] (gone.example) is out", "goaway policy set zones.gone.example.enabled false"
    )
    assert not any("Gone" in one["what"] for one in desk.explain("192.0.2.9")["findings"])


def test_limits_suspended_and_forgotten(desk: Desk) -> None:
    desk.up.goaway("suspend", "rate", "--for", "2h", "--note", "the campaign")
    desk.log.connect("203.0.117.5", 40)
    time.sleep(1.0)
    assert desk.up.ask("203.0.117.5") == LET_IN
    found = desk.explain("203.0.117.5")
    assert found["modules"]["rate"] == "suspended for everybody"
    looked_at = json.loads(goaway("doctor", "--json", "--data", str(desk.up.data)).stdout)
    assert [it["verdict"] for it in looked_at if "rate judges nobody until" in it["what"]] == ["note"]
    desk.help(found, "rate is suspended for everybody until", "goaway resume rate")
    desk.log.connect("203.0.117.5", 12)
    desk.up.wait_answer("203.0.117.5")
