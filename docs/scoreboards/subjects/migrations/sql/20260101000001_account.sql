-- migrate:up
CREATE TABLE account (id int PRIMARY KEY, cents bigint NOT NULL);
-- migrate:down
