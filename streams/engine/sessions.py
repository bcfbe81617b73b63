"""Open sessions of a client: heard of, ended, forgotten."""

from streams.engine.state import ClientState, State
from streams.model.event import Event
from streams.model.instant import MICROSECONDS
from streams.model.standing import PolicyIndex


def heard(index: PolicyIndex, state: State, event: Event) -> None:
    """An event that no rule counts: it ends a session, or shows that one is alive."""
    client = state.known(event.client, event.at)
    if client is None:
        return
    if event.kind == "disconnect":
        if client.sessions:
            client.sessions.pop(event.session, None)
    else:
        alive(index, client, event)


def alive(index: PolicyIndex, client: ClientState, event: Event) -> None:
    """Note that an open session was heard of; one that was idle for too long is over and stays so."""
    sessions = client.sessions
    forgotten = sessions.get(event.session) if sessions else None
    if sessions is None or forgotten is None:
        return
    if forgotten <= client.clock:
        del sessions[event.session]
        return
    later = event.at + index.standing(event.address).limits.session_idle_s * MICROSECONDS
    if later > forgotten:
        sessions[event.session] = later
