"""The reputation stage: asks DNSBLs about the addresses that connect, and says on `smtp.events` what they
answered.

From the bottom: `names` and `messages` (DNS on the wire), `sockets` and `resolver` (questions in flight),
`answers` (what an answer means), `health` (whether a zone can be trusted), `zones` (one look at an address),
`cache`, `lookups` (whom to look up, and when), `senders`, `partners`, `outbox`, and the Faust app around
them.
"""
