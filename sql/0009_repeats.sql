-- How far each source was read, so that a line that a shipper sent again after a crash is stored once. Both ends of
-- the last batch: it is made again from its beginning, and the next one goes on behind it.
ALTER TABLE sink_batches
    ADD COLUMN IF NOT EXISTS read_before Map(String, UInt64) COMMENT 'source and its highest position in the partition\'s records before this batch' CODEC(ZSTD(1)) AFTER last_offset,
    ADD COLUMN IF NOT EXISTS read_after Map(String, UInt64) COMMENT 'the same with this batch\'s records' CODEC(ZSTD(1)) AFTER read_before;
