-- What the whole policy adds to events, decisions and warnings: reputation, greylisting, shadow, other warnings.
-- Rows stored before have the defaults, which is what their records say by leaving the fields out.
ALTER TABLE events
    ADD COLUMN IF NOT EXISTS ttl_s UInt32 COMMENT 'how long a reputation event\'s answers hold, in seconds; 0 where the source did not say' CODEC(ZSTD(1)) AFTER size,
    COMMENT COLUMN IF EXISTS kind 'connect, disconnect, helo, mail, rcpt, message, violation, auth, auth_failure, refusal, reputation, learnt, forget, policy',
    COMMENT COLUMN IF EXISTS client 'the key that counters hang on: 192.0.2.7 or 2001:db8::/64; policy of an event of that kind',
    COMMENT COLUMN IF EXISTS address 'the address itself; IPv4 is mapped (::ffff:192.0.2.7); :: of an event of kind policy',
    COMMENT COLUMN IF EXISTS detail 'bounded free text: the refusal\'s reason, the command counts; of reputation ZONE CODE[,CODE] joined by "; "; of policy NUMBER AFTER VERSION';

ALTER TABLE decisions
    ADD COLUMN IF NOT EXISTS shadow Bool COMMENT 'decided and recorded only: nothing is refused' CODEC(ZSTD(1)) AFTER host,
    ADD COLUMN IF NOT EXISTS triplet String COMMENT 'of a defer: SENDER:RECIPIENT, two hashes; empty otherwise' CODEC(ZSTD(1)) AFTER shadow,
    ADD COLUMN IF NOT EXISTS pool String COMMENT 'of a greylist defer or pass: the domain that the client\'s verified name shares with its neighbours' CODEC(ZSTD(1)) AFTER triplet,
    COMMENT COLUMN IF EXISTS action 'block, release, defer (a first greylist attempt), pass (lets through what would have to wait)',
    COMMENT COLUMN IF EXISTS until 'first instant at which it no longer holds: of a block, the client is let in again; NULL: as long as the policy\'s entry stands',
    COMMENT COLUMN IF EXISTS code 'SMTP reply code: 551 or 571, 451 of a defer; 0 where it refuses nobody';

ALTER TABLE warnings
    ADD COLUMN IF NOT EXISTS about LowCardinality(String) DEFAULT 'limit' COMMENT 'limit, zone, partner, pipeline' AFTER host,
    ADD COLUMN IF NOT EXISTS text String COMMENT 'in words, with what to do; empty for a limit, whose evidence says all' CODEC(ZSTD(1)) AFTER about,
    COMMENT COLUMN IF EXISTS client 'the key that counters hang on; of a zone its domain, of a partner the address, of the pipeline the stage',
    COMMENT COLUMN IF EXISTS address 'the address of the event; IPv4 is mapped (::ffff:192.0.2.7); :: where it is about none',
    COMMENT COLUMN IF EXISTS rule 'the limit\'s own name: requests_per_minute, …; empty where it is about no limit';
