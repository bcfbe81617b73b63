"""The `goaway` command: thin, and the only place that prints errors."""
