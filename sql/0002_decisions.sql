-- Who was told to go away, until when and why: one row a decision of `smtp.decisions` (schemas/decision.v1.json).
-- A decision may be emitted twice by design (its id is derived): count ids, not rows.
CREATE TABLE IF NOT EXISTS decisions
(
    at DateTime64(6, 'UTC') COMMENT 'time of the event that brought it about' CODEC(Delta, ZSTD(1)),
    until Nullable(DateTime64(6, 'UTC')) COMMENT 'first instant at which the client is let in again; NULL: as long as the policy\'s entry stands' CODEC(ZSTD(1)),
    action LowCardinality(String) COMMENT 'block or release',
    client String COMMENT 'the key that counters hang on: 192.0.2.7 or 2001:db8::/64' CODEC(ZSTD(1)),
    address IPv6 COMMENT 'the address of the event; IPv4 is mapped (::ffff:192.0.2.7)' CODEC(ZSTD(1)),
    trigger LowCardinality(String) COMMENT 'rate, reputation, greylist, protocol, blocklist',
    rule LowCardinality(String) COMMENT 'the limit\'s own name: requests_per_minute, …',
    code UInt16 COMMENT 'SMTP reply code: 551 or 571' CODEC(ZSTD(1)),
    reason String COMMENT 'the text the client is given' CODEC(ZSTD(1)),
    evidence_count UInt64 COMMENT 'what was counted' CODEC(T64, ZSTD(1)),
    evidence_limit UInt64 COMMENT 'the limit it was held against' CODEC(T64, ZSTD(1)),
    evidence_window_s UInt32 COMMENT 'length of the sliding window in seconds; 0 for what is counted at one moment' CODEC(ZSTD(1)),
    evidence_network LowCardinality(String) COMMENT 'the policy\'s network entry that set the limit; empty for [limits]',
    evidence_strike UInt32 COMMENT 'which block within repeat_within_s this is, from 1' CODEC(ZSTD(1)),
    evidence_note String COMMENT 'an administrator\'s note on the entry that decided' CODEC(ZSTD(1)),
    policy LowCardinality(String) COMMENT 'version of the policy that decided',
    event String COMMENT 'id of the event that brought it about' CODEC(ZSTD(1)),
    session String COMMENT 'session of that event' CODEC(ZSTD(1)),
    host LowCardinality(String) COMMENT 'the MTA that logged that event',
    id String COMMENT 'derived from (trigger, client, event)' CODEC(ZSTD(1)),
    kafka_epoch UInt32 COMMENT 'which life of the topic the offset belongs to (sink_epochs)' CODEC(ZSTD(1)),
    kafka_partition UInt32 COMMENT 'partition of the topic' CODEC(ZSTD(1)),
    kafka_offset UInt64 COMMENT 'offset of the record' CODEC(Delta, ZSTD(1)),
    frame_index UInt32 COMMENT 'always 0: one decision a record' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (client, at)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row a decision of smtp.decisions';
