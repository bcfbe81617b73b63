"""The pure engine: `step(policy, state, event)`. It reads event time, never a clock; it does no I/O."""
