"""What a zone's answer means: listed, not listed, or that the zone is in trouble."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final, Literal

from streams.agents.reputation.messages import NOERROR, NXDOMAIN, RCODES, Reply
from streams.model.modules import ERROR_CODES, Reputation

_LISTING: Final = IPv4Network("127.0.0.0/8")

_ERROR_WORDS: Final = {
    "127.255.255.252": (
        "it says that its name is mistyped (127.255.255.252)",
        "compare the zone's domain with its operator's documentation",
    ),
    "127.255.255.254": (
        "it refuses this resolver as a public or open one (127.255.255.254)",
        "ask through a resolver of your own: [reputation] resolvers",
    ),
    "127.255.255.255": (
        "it says that too many queries come from here (127.255.255.255)",
        "get the operator's data feed or a key, or switch the zone off",
    ),
}
_ERROR_ADVICE: Final = "look the code up in the zone's documentation"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a zone cannot be used, in words, and what to do about it.

    `silent` may pass: it counts towards the breaker. `refusing`, `wildcard` and `untested` are certain.
    """

    kind: Literal["silent", "strange", "refusing", "wildcard", "untested"]
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One zone's answer about one address: the codes by which it is listed, none where it is not."""

    codes: tuple[str, ...] = ()
    ttl_s: int = 0
    """How long it holds, within the policy's bounds."""
    trouble: Trouble | None = None
    """Set where the zone gave no answer that counts; `codes` is empty then."""


class NoAnswerError(Exception):
    """No resolver had an answer in time; the text says what happened instead."""


def silent(why: str) -> Trouble:
    """The trouble of a zone from which nothing came."""
    return Trouble("silent", why, "see whether the resolver and the zone's name servers work")


def read_answer(reply: Reply, bounds: Reputation) -> Answer:
    """The meaning of a reply. Only A records in 127.0.0.0/8 list an address; 127.255.255.0/24 never does."""
    if reply.rcode not in (NOERROR, NXDOMAIN):
        return Answer(trouble=silent(f"it answers {RCODES.get(reply.rcode, f'code {reply.rcode}')}"))
    codes = tuple(sorted(set(reply.addresses), key=lambda text: int(IPv4Address(text))))
    for code in codes:
        trouble = _trouble(code)
        if trouble is not None:
            return Answer(trouble=trouble)
    ttl_s = bounds.ttl_min_s if reply.ttl_s is None else reply.ttl_s
    return Answer(codes, max(bounds.ttl_min_s, min(bounds.ttl_max_s, ttl_s)))


def _trouble(code: str) -> Trouble | None:
    address = IPv4Address(code)
    if address in ERROR_CODES:
        text, advice = _ERROR_WORDS.get(code, (f"it answers with the error code {code}", _ERROR_ADVICE))
        return Trouble("refusing", text, advice)
    if address not in _LISTING:
        return Trouble(
            "strange",
            f"it answers {code}, which is no DNSBL's code",
            "see whether the domain was sold or parked or the resolver rewrites answers; switch the zone off",
        )
    return None
