-- migrate:up
INSERT INTO account SELECT n, n FROM generate_series(1, 100) AS n;
-- migrate:down
