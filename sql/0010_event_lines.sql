-- Events as the sink sends them: one line of JSON each, which ClickHouse takes apart and puts into `events`. For the
-- sink one column of bytes is a fraction of the work that two dozen columns are; here it is work of C++.
-- Nothing is stored in `event_lines`. An insert's token counts in `events` and in the rollups as if it had been
-- sent there. A line has the fields of schemas/event.v1.json in their order, as an array without names.
CREATE TABLE IF NOT EXISTS event_lines
(
    at DateTime64(6, 'UTC') COMMENT 'when it happened: which month, hence which partition, is the sink\'s to know',
    address IPv6 COMMENT 'the address itself; IPv4 is mapped (::ffff:192.0.2.7)',
    line String COMMENT 'the event: a JSON array of its fields',
    kafka_epoch UInt32 COMMENT 'which life of the topic the offset belongs to (sink_epochs)',
    kafka_partition UInt32 COMMENT 'partition of the topic',
    kafka_offset UInt64 COMMENT 'offset of the record',
    frame_index UInt32 COMMENT 'which event of its record, from 0'
)
ENGINE = Null
COMMENT 'the way into events: nothing is stored here';
CREATE MATERIALIZED VIEW IF NOT EXISTS event_lines_view TO events AS
SELECT
    at,
    event.kind AS kind,
    event.client AS client,
    address,
    event.session AS session,
    event.host AS host,
    event.service AS service,
    event.ptr AS ptr,
    event.helo AS helo,
    event.sender AS sender,
    event.recipient AS recipient,
    event.queue_id AS queue_id,
    event.sasl_user AS sasl_user,
    event.violation AS violation,
    event.code AS code,
    event.detail AS detail,
    event.size AS size,
    event.ttl_s AS ttl_s,
    event.source AS source,
    event.position AS position,
    event.id AS id,
    kafka_epoch,
    kafka_partition,
    kafka_offset,
    frame_index
FROM
(
    SELECT
        * EXCEPT line,
        JSONExtract(line, 'Tuple(
            id String,
            at String,
            kind LowCardinality(String),
            client String,
            address String,
            session String,
            host LowCardinality(String),
            service LowCardinality(String),
            ptr String,
            helo String,
            sender String,
            recipient String,
            queue_id String,
            sasl_user String,
            violation LowCardinality(String),
            code UInt16,
            detail String,
            size UInt64,
            ttl_s UInt32,
            source LowCardinality(String),
            position UInt64
        )') AS event
    FROM event_lines
);
-- An insert that is sent again must go the way it went: what went straight into `events` is not known by its token here.
ALTER TABLE sink_batches
    ADD COLUMN IF NOT EXISTS as_lines Bool COMMENT 'its events were sent to event_lines' CODEC(ZSTD(1)) AFTER read_after;
