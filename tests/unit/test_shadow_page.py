"""The page of `goaway shadow report`: nobody who delivers mail is left out of it."""

from datetime import UTC

from streams.audit.shadow_report import Compared, Difference, Side
from streams.cli.shadow_page import shadow_page
from streams.model.client import Client
from streams.model.instant import MICROSECONDS, Instant

START = Instant(1_700_000_000 * MICROSECONDS)


def difference(client: str, messages: int) -> Difference:
    refused = Side(blocks=1, alone=1, refused_s=60, alone_s=60, first=START, last=START, messages=messages)
    return Difference(
        client=Client(client), where="candidate", candidate=refused, live=Side(), messages=messages
    )


def test_all_who_deliver_are_shown_and_the_others_left_out_are_counted() -> None:
    known = [difference(f"198.51.{n >> 8}.{n & 255}", 3) for n in range(520)]
    others = [difference(f"203.0.{n >> 8}.{n & 255}", 0) for n in range(510)]
    found = Compared(
        start=START,
        end=Instant(START + 3600 * MICROSECONDS),
        refused_candidate=1030,
        refused_live=0,
        refused_both=0,
        left_out=0,
        triggers={},
        differences=[*known, *others],
    )
    whole = shadow_page(found, ["Candidate 1 is being tried."], UTC)
    assert all(f">{it.client}<" in whole for it in known)
    assert sum(f">{it.client}<" in whole for it in others) == 500
    assert "And 10 others; --json has them." in whole
