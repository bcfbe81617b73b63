"""ClickHouse on one machine with nothing installed: the real engine, in a child process of ours.

`process` is the parent's side and all that others need. The child speaks the native protocol; bytes climb a
ladder there: `feed` → `native`, `compression` → `packets`. `statement` knows which of them take data;
`engine` and `session` execute; `replies` go back; `conversation` and `server` are the only ones that wait.
"""

from streams.embedded.clickhouse.process import EmbeddedClickHouse

__all__ = ["EmbeddedClickHouse"]
