"""Bytes ↔ model: MTA logs, frames, the policy file, the Postfix policy protocol. Pure: no I/O, no clock."""
