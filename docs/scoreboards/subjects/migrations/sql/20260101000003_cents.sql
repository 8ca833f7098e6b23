-- migrate:up
UPDATE account SET cents = cents * 100;
-- migrate:down
