"""Partner watch: addresses looked up on a schedule, a word when one becomes listed or is cleared."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.agents.reputation.zones import Zones
from streams.model.client import Client
from streams.model.modules import Partner, Zone
from streams.model.standing import PolicyIndex

_AT_ONCE: Final = 10
_TICK_S: Final = 0.5
_log = logging.getLogger(__name__)

OnPartner = Callable[[Partner, list[Zone], list[Zone]], None]
"""A partner, the zones that list it now and did not, and those that no longer do."""


class Remembered:
    """Partner → zones that are known to list it; in a file where there is a folder, else until the end."""

    def __init__(self, folder: Path | None) -> None:
        self._file = folder / "partners.json" if folder is not None else None
        self.listed: dict[str, set[str]] = {}
        try:
            kept = json.loads(self._file.read_text()) if self._file is not None else {}
            self.listed = {str(address): {str(zone) for zone in zones} for address, zones in kept.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError, TypeError) as error:
            _log.warning("%s cannot be read (%s): listings are told once more", self._file, error)

    def keep(self) -> None:
        """Write the file, whole."""
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            beside = self._file.with_suffix(".new")
            beside.write_text(json.dumps({address: sorted(zones) for address, zones in self.listed.items()}))
            beside.replace(self._file)
        except OSError as error:
            _log.error("%s cannot be written: %s", self._file, error.strerror)


class PartnerWatch:
    """Looks up the partners whose client this worker has (`is_mine`): of several workers one tells."""

    def __init__(
        self,
        zones: Zones,
        tell: OnPartner,
        *,
        index: PolicyIndex,
        is_mine: Callable[[Client], bool],
        folder: Path | None = None,
    ) -> None:
        self._zones = zones
        self._tell = tell
        self._index = index
        self._is_mine = is_mine
        self._remembered = Remembered(folder)
        self._due: dict[str, float] = {}
        """Partner → when it is looked up next, monotonic seconds."""

    @property
    def listed(self) -> int:
        """Partners of the policy that are listed, as far as known."""
        return sum(bool(self._remembered.listed.get(one.address)) for one in self._index.policy.partners)

    def follow(self, index: PolicyIndex) -> None:
        """From now on these are the partners; those that went are forgotten."""
        if index.zones != self._index.zones:
            self._due.clear()
        self._index = index
        addresses = {partner.address for partner in index.policy.partners}
        for gone in self._due.keys() - addresses:
            del self._due[gone]
        for gone in self._remembered.listed.keys() - addresses:
            del self._remembered.listed[gone]

    async def look_for_ever(self) -> None:
        """Look up each partner when it is due."""
        while True:
            await self.look(time.monotonic())
            await asyncio.sleep(_TICK_S)

    async def look(self, now: float) -> None:
        """Look up those that are due."""
        policy = self._index.policy
        due = [
            partner
            for partner in policy.partners
            if self._due.get(partner.address, 0.0) <= now
            and self._is_mine(policy.clients.client_of(partner.address))
        ]
        for start in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*(self._look(partner, now) for partner in due[start : start + _AT_ONCE]))
        if due:
            self._remembered.keep()

    async def _look(self, partner: Partner, now: float) -> None:
        every_s = self._index.policy.reputation.partners_every_s
        found = await self._zones.look(partner.address, self._zones.domains_for(partner.address))
        zones = self._index.zones
        before = self._remembered.listed.get(partner.address, set()) & zones.keys()
        answered = {domain: answer for domain, answer in found.items() if answer.trouble is None}
        # a zone that did not answer is asked again soon, and what it said before stands until then
        whole = len(answered) == self._zones.count_for(partner.address)
        self._due[partner.address] = now + (every_s if whole else min(every_s, 60))
        listed = {domain for domain, answer in answered.items() if answer.codes and domain in zones}
        after = listed | (before - answered.keys())
        if after != before:
            self._tell(
                partner,
                [zones[domain] for domain in zones if domain in after - before],
                [zones[domain] for domain in zones if domain in before - after],
            )
        self._remembered.listed[partner.address] = after
