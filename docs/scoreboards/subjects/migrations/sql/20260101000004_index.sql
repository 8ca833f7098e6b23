-- migrate:up
CREATE INDEX account_cents ON account (cents);
-- migrate:down
