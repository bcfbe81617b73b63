-- What could not be read, where and why: the records of `smtp.deadletters` (schemas/deadletter.v1.json), and
-- what the sink itself could not read of the other topics.
CREATE TABLE IF NOT EXISTS deadletters
(
    at DateTime64(6, 'UTC') COMMENT 'when Kafka took the record' CODEC(Delta, ZSTD(1)),
    source String COMMENT 'a file\'s path, or topic/partition of a record' CODEC(ZSTD(1)),
    position UInt64 COMMENT 'byte offset in the file, or the record\'s offset' CODEC(ZSTD(1)),
    reason String COMMENT 'why it could not be read' CODEC(ZSTD(1)),
    text String COMMENT 'the beginning of it, escaped to printable ASCII' CODEC(ZSTD(1)),
    kafka_topic LowCardinality(String) COMMENT 'the topic it came in: smtp.deadletters, or the one the sink read',
    kafka_epoch UInt32 COMMENT 'which life of that topic the offset belongs to (sink_epochs)' CODEC(ZSTD(1)),
    kafka_partition UInt32 COMMENT 'partition of that topic' CODEC(ZSTD(1)),
    kafka_offset UInt64 COMMENT 'offset of the record' CODEC(Delta, ZSTD(1)),
    frame_index UInt32 COMMENT 'which unreadable line of its record, from 0' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (source, at)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'what could not be read';
