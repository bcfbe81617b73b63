"""What would have let a refused client through, and the command that makes it so from now on."""

from streams.audit.story import Story


def would_have_passed(story: Story) -> list[tuple[str, str]]:
    """What would have let it through: in words, and the command that makes it so from now on."""
    decision = story.decision
    if decision is None:
        if story.event is not None and story.event.code >= 400:
            return [("the MTA refused by its own rules: no entry of this policy changes that", "")]
        return []
    if decision.shadow:
        return [("decided in shadow: recorded only, nobody was refused", "")]
    address, evidence, found = decision.address, decision.evidence, list[tuple[str, str]]()
    match decision.trigger:
        case "rate":
            key = story.entry_key.replace("/", ".", 1)
            raised = max(evidence.count, evidence.limit + 1) * 12 // 10
            words = f"a {decision.rule} of at least {evidence.count}; with a fifth above that, {raised}"
            found.append((words, f"goaway policy set {key}.{decision.rule} {raised}"))
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
            found.append(
                ("no entry in the block list", f"goaway policy remove {story.entry_key or 'blocks/…'}")
            )
    return found
