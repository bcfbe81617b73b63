"""Frozen values that every stage shares: instants, clients, events, decisions, the policy."""
