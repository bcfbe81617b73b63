"""What would have let a refused client through, and the command that makes it so from now on."""

from typing import Final

from streams.audit.story import Story
from streams.engine.outcome import in_shadow, moot
from streams.engine.treatment import exemption_of, noted
from streams.model.client import Address, shown
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.policy import MODULE_OF, Exemption, Module
from streams.model.schedule import Calendar
from streams.model.standing import PolicyIndex
from streams.wire.policy_entries import policy_of
from streams.wire.policy_values import network_text
from streams.wire.postfix.ours import cannot_be_told, spoken_by

Remedy = tuple[str, str]
"""In words, and the command; empty where there is nothing to type."""
_UNKNOWN: Final = "; no change is on record, so see first what holds now"


def would_have_passed(story: Story, now: int) -> list[Remedy]:
    """What would have let it through, held against the policy in force now where that is known: what it
    allows already needs no command, and none makes a limit smaller than it is."""
    decision = story.decision
    if decision is None:
        return _undecided(story, story.event, now) if story.event and story.event.code >= 400 else []
    if decision.action == "release":
        return []
    if decision.shadow:
        return [("decided in shadow: recorded only, nobody was refused", "")]
    index = _in_force(story)
    if index is not None and (words := _allowed(index, decision, now)):
        return [(f"the policy in force now: {words}", "")]
    address, found = decision.address, list[Remedy]()
    match decision.trigger:
        case "rate":
            found.append(_raised(story, decision, index))
            found.append(("no judging of its rate at all", f"goaway exempt rate {address}"))
        case "reputation":
            found.append(("not to be listed, or to be let alone by DNSBLs", f"goaway exempt dnsbl {address}"))
            found.append(
                (f"not to ask {decision.rule}", f"goaway policy set zones.{decision.rule}.enabled false")
            )
        case "greylist":
            found.append(("to come back after the delay, as honest servers do", ""))
            found.append(("to be let alone by greylisting", f"goaway exempt greylist {address}"))
        case "protocol":
            found.append(("to be let alone by protocol rules", f"goaway exempt protocol {address}"))
            found.append(
                (
                    f"the rule switched off for all: {decision.rule}",
                    f"goaway policy set protocol.{decision.rule} false",
                )
            )
        case _:
            found.append(_unlisted(story, index, address, now))
    return found


def _in_force(story: Story) -> PolicyIndex | None:
    return None if story.current is None else PolicyIndex(policy_of(story.current))


def _unlisted(story: Story, index: PolicyIndex | None, address: Address, now: int) -> Remedy:
    block = index.standing(address).blocked(now) if index else None
    key = f"blocks/{network_text(block.network)}" if block else story.entry_key
    return "no entry in the block list", f"goaway policy remove {key}" if key else ""


def _undecided(story: Story, event: Event, now: int) -> list[Remedy]:
    """Of a refusal of which no decision is stored: what its text says of who refused, and by what."""
    trigger, index = spoken_by(event), _in_force(story)
    if not trigger and not cannot_be_told(event):
        return [("the MTA refused by its own rules: no entry of this policy changes that", "")]
    standing = index.standing(event.address) if index else None
    listed = [] if standing and not standing.blocked(now) else [_unlisted(story, index, event.address, now)]
    if trigger == "blocklist":
        return listed or [("the policy in force now: no entry of its block list names the address", "")]
    if (module := MODULE_OF.get(trigger)) is None:
        words = "it was Goaway's, by what is not known" if trigger else "whose words these are cannot be told"
        return [(f"{words}: no decision that stood then is stored", ""), *(listed if index else [])]
    if standing and (entry := exemption_of(standing, module, now)) is not None:
        return [(f"the policy in force now: {_exempt(module, entry)}", "")]
    words = f"to be let alone by {module}; what was counted is not known: the decision is not stored"
    return [(words, f"goaway exempt {module} {event.address}")]


def _exempt(module: Module, entry: Exemption) -> str:
    return f"the address is exempt from {module} by {shown(entry.network)}{noted(entry.note)}"


def _allowed(index: PolicyIndex, decision: Decision, now: int) -> str:
    """Why this policy would let it through, in words; empty where it would not. A suspension ends, so it
    does not count."""
    standing = index.standing(decision.address)
    if decision.trigger == "blocklist":
        return "" if standing.blocked(now) else "no entry of its block list names the address"
    module = MODULE_OF[decision.trigger]
    if (entry := exemption_of(standing, module, now)) is not None:
        return _exempt(module, entry)
    if in_shadow(index, decision.trigger, decision.rule):
        return f"{decision.rule} is in shadow and refuses nobody"
    if decision.trigger == "rate":
        limit = _limit(index.at(decision.at), decision)
        return f"its {decision.rule} of {limit} allows this" if decision.evidence.count <= limit else ""
    return moot(index, standing, decision.trigger, decision.rule, decision.reason)


def _limit(index: PolicyIndex, decision: Decision) -> int:
    return int(getattr(index.standing(decision.address).limits, decision.rule))


def _raised(story: Story, decision: Decision, index: PolicyIndex | None) -> Remedy:
    """A limit that would have sufficed. `index`: the policy in force now, which does not allow it."""
    rule, evidence = decision.rule, decision.evidence
    raised = max(evidence.count, evidence.limit + 1) * 12 // 10
    words = f"a {rule} of at least {evidence.count}; with a fifth above that, {raised}"
    if index is None:
        key = story.entry_key.replace("/", ".", 1)
        return f"{words}{_UNKNOWN}", f"goaway policy set {key}.{rule} {raised}"
    network, limit = index.standing(decision.address).network, _limit(index, decision)
    key = f"networks.{network}" if network else "limits"
    if evidence.count <= limit:
        follows = limit == getattr(index.policy.limits, rule)
        key = next(
            f"schedules.{it.name}"
            for it in reversed(Calendar(index.policy.schedules).active(decision.at))
            if rule in dict(it.overrides) and (network in map(str, it.networks) if it.networks else follows)
        )
        words += f" (it is {limit}, but not while {key} is in force)"
    elif limit != evidence.limit:
        words += f" (it is {limit} now)"
    return words, f"goaway policy set {key}.{rule} {raised}"
