-- What MTAs saw clients do: one row an event of `smtp.events` (schemas/event.v1.json).
-- (kafka_epoch, kafka_partition, kafka_offset, frame_index) names a row: the sink stores each exactly once.
CREATE TABLE IF NOT EXISTS events
(
    at DateTime64(6, 'UTC') COMMENT 'when it happened, by the MTA\'s log' CODEC(Delta, ZSTD(1)),
    kind LowCardinality(String) COMMENT 'connect, disconnect, helo, mail, rcpt, message, violation, auth, auth_failure, refusal, reputation',
    client String COMMENT 'the key that counters hang on: 192.0.2.7 or 2001:db8::/64' CODEC(ZSTD(1)),
    address IPv6 COMMENT 'the address itself; IPv4 is mapped (::ffff:192.0.2.7)' CODEC(ZSTD(1)),
    session String COMMENT 'host/pid[/port]: one connection at a time has it' CODEC(ZSTD(1)),
    host LowCardinality(String) COMMENT 'the MTA\'s own host name',
    service LowCardinality(String) COMMENT 'smtpd, postscreen, submission/smtpd, …',
    ptr String COMMENT 'the client\'s verified name; empty when there is none' CODEC(ZSTD(1)),
    helo String COMMENT 'HELO or EHLO name, as given' CODEC(ZSTD(1)),
    sender String COMMENT 'envelope sender' CODEC(ZSTD(1)),
    recipient String COMMENT 'envelope recipient' CODEC(ZSTD(1)),
    queue_id String COMMENT 'the MTA\'s queue id' CODEC(ZSTD(1)),
    sasl_user String COMMENT 'login name' CODEC(ZSTD(1)),
    violation LowCardinality(String) COMMENT 'missing HELO, pipelining, …; empty when there was none',
    code UInt16 COMMENT 'SMTP reply code of a refusal; 0 where nothing was refused' CODEC(ZSTD(1)),
    detail String COMMENT 'the refusal\'s reason, the command counts, the DNSBL zone' CODEC(ZSTD(1)),
    size UInt64 COMMENT 'bytes of a message' CODEC(T64, ZSTD(1)),
    source LowCardinality(String) COMMENT 'where the line was read',
    position UInt64 COMMENT 'byte offset of the line in its source' CODEC(Delta, ZSTD(1)),
    id String COMMENT 'derived from the log line: a line shipped twice has the same id twice' CODEC(ZSTD(1)),
    kafka_epoch UInt32 COMMENT 'which life of the topic the offset belongs to (sink_epochs)' CODEC(ZSTD(1)),
    kafka_partition UInt32 COMMENT 'partition of the topic' CODEC(ZSTD(1)),
    kafka_offset UInt64 COMMENT 'offset of the record' CODEC(Delta, ZSTD(1)),
    frame_index UInt32 COMMENT 'which event of its record, from 0' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (client, at)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row an event of smtp.events';
