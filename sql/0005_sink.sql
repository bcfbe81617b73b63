-- What the sink intends before it stores, so that a killed sink knows where it stood (docs/storage.md).
CREATE TABLE IF NOT EXISTS sink_epochs
(
    topic LowCardinality(String) COMMENT 'name of the topic',
    epoch UInt32 COMMENT 'which life of the topic, from 1: offsets start again in each',
    topic_id String COMMENT 'the topic\'s id in Kafka; empty where the broker has none',
    instance String COMMENT 'which run of a broker that keeps its log in memory; empty for any other',
    started DateTime64(6, 'UTC') COMMENT 'when the sink first saw it'
)
ENGINE = MergeTree
ORDER BY (topic, epoch)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'the lives of each topic';

CREATE TABLE IF NOT EXISTS sink_batches
(
    topic LowCardinality(String) COMMENT 'name of the topic',
    epoch UInt32 COMMENT 'which life of the topic (sink_epochs)',
    batch UInt64 COMMENT 'number of the batch in its epoch, from 1',
    kafka_partition UInt32 COMMENT 'partition of the topic',
    first_offset UInt64 COMMENT 'first record of the batch',
    last_offset UInt64 COMMENT 'last record of the batch',
    written DateTime64(6, 'UTC') COMMENT 'when it was intended'
)
ENGINE = ReplacingMergeTree(batch)
ORDER BY (topic, epoch, kafka_partition)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'the last batch that covered each partition: what is stored, and what may have been under way';
