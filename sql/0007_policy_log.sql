-- Who changed the policy, when, what and why: one row a record of `smtp.policy` (schemas/policy.v1.json), entries
-- as well as the commits that put them in force. An entry counts only with a commit that was accepted;
-- `streams/audit/policy_history.py` reads it so. What cannot be read is in `deadletters`; where it spoils a change,
-- it has a row here as well.
CREATE TABLE IF NOT EXISTS policy_log
(
    at DateTime64(6, 'UTC') COMMENT 'of a commit when the change was made; of an entry when Kafka took it' CODEC(Delta, ZSTD(1)),
    key String COMMENT 'which entry: limits, networks/192.0.2.0/24, …; of a commit: change' CODEC(ZSTD(1)),
    change UInt64 COMMENT 'number of the change that the record belongs to' CODEC(Delta, ZSTD(1)),
    entry String COMMENT 'the entry as JSON, as it was written; empty of a commit, where the entry was taken out, and where it cannot be read' CODEC(ZSTD(1)),
    deleted Bool COMMENT 'the change took the entry out of the policy' CODEC(ZSTD(1)),
    after UInt64 COMMENT 'of a commit: number of the change it builds on; 0 of an entry' CODEC(Delta, ZSTD(1)),
    version LowCardinality(String) COMMENT 'of a commit: version of the policy as the change left it; empty of an entry',
    who LowCardinality(String) COMMENT 'of a commit: who made the change; empty of an entry',
    what String COMMENT 'of a commit: the change in words; empty of an entry' CODEC(ZSTD(1)),
    note String COMMENT 'of a commit: why, as the administrator put it; empty of an entry' CODEC(ZSTD(1)),
    entries UInt64 COMMENT 'of a commit: how many entries the change has; 0 of an entry' CODEC(ZSTD(1)),
    kafka_epoch UInt32 COMMENT 'which life of the topic the offset belongs to (sink_epochs)' CODEC(ZSTD(1)),
    kafka_partition UInt32 COMMENT 'partition of the topic: always 0' CODEC(ZSTD(1)),
    kafka_offset UInt64 COMMENT 'offset of the record' CODEC(Delta, ZSTD(1)),
    frame_index UInt32 COMMENT 'always 0: one row a record' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (kafka_epoch, kafka_offset)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'one row a record of smtp.policy';
