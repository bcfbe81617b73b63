-- Who came close to a limit: one row a warning of `smtp.warnings` (schemas/warning.v1.json).
CREATE TABLE IF NOT EXISTS warnings
(
    at DateTime64(6, 'UTC') COMMENT 'time of the event that brought it about' CODEC(Delta, ZSTD(1)),
    client String COMMENT 'the key that counters hang on: 192.0.2.7 or 2001:db8::/64' CODEC(ZSTD(1)),
    address IPv6 COMMENT 'the address of the event; IPv4 is mapped (::ffff:192.0.2.7)' CODEC(ZSTD(1)),
    rule LowCardinality(String) COMMENT 'the limit\'s own name: requests_per_minute, …',
    evidence_count UInt64 COMMENT 'what was counted' CODEC(T64, ZSTD(1)),
    evidence_limit UInt64 COMMENT 'the limit it comes close to' CODEC(T64, ZSTD(1)),
    evidence_window_s UInt32 COMMENT 'length of the sliding window in seconds; 0 for what is counted at one moment' CODEC(ZSTD(1)),
    evidence_network LowCardinality(String) COMMENT 'the policy\'s network entry that set the limit; empty for [limits]',
    evidence_strike UInt32 COMMENT 'always 0: a warning is no block' CODEC(ZSTD(1)),
    evidence_note String COMMENT 'an administrator\'s note on the entry that set the limit' CODEC(ZSTD(1)),
    policy LowCardinality(String) COMMENT 'version of the policy',
    event String COMMENT 'id of the event that brought it about' CODEC(ZSTD(1)),
    host LowCardinality(String) COMMENT 'the MTA that logged that event',
    id String COMMENT 'derived from (rule, client, event)' CODEC(ZSTD(1)),
    kafka_epoch UInt32 COMMENT 'which life of the topic the offset belongs to (sink_epochs)' CODEC(ZSTD(1)),
    kafka_partition UInt32 COMMENT 'partition of the topic' CODEC(ZSTD(1)),
    kafka_offset UInt64 COMMENT 'offset of the record' CODEC(Delta, ZSTD(1)),
    frame_index UInt32 COMMENT 'always 0: one warning a record' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (client, at)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row a warning of smtp.warnings';
