CREATE TABLE city (id int PRIMARY KEY, name text NOT NULL, region text);
CREATE TABLE customer (id int PRIMARY KEY, city_id int REFERENCES city, name text, born date, score float8);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customer, placed timestamptz, status text);
CREATE TABLE item (order_id int REFERENCES orders, line int, product text, price numeric, PRIMARY KEY (order_id, line));
CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX orders_status ON orders (status, placed DESC);
CREATE INDEX customer_name ON customer (lower(name));
CREATE TABLE "Odd Name" ("Big" int PRIMARY KEY, "semi;colon" text);
CREATE TABLE visit (day date NOT NULL, customer_id int) PARTITION BY RANGE (day);
CREATE TABLE visit_2024 PARTITION OF visit FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE visit_2025 PARTITION OF visit FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');

INSERT INTO city SELECT i, 'city ' || i, CASE WHEN i % 2 = 0 THEN 'north' END FROM generate_series(1, 20) i;
INSERT INTO customer SELECT i, i % 20 + 1, 'customer ' || i, date '1970-01-01' + i, i / 7.0 FROM generate_series(1, 1000) i;
INSERT INTO orders SELECT i, i % 1000 + 1, timestamptz '2024-01-01 00:00Z' + i * interval '1 hour',
                          CASE WHEN i % 50 = 0 THEN 'open' ELSE 'done' END FROM generate_series(1, 5000) i;
INSERT INTO item SELECT i, l, 'product ' || i * l % 97, i * l / 100.0 FROM generate_series(1, 5000) i, generate_series(1, 2) l;
INSERT INTO visit SELECT date '2024-01-01' + i % 700, i % 1000 FROM generate_series(1, 2000) i;

CREATE VIEW open_order AS SELECT id, customer_id FROM orders WHERE status = 'open';
CREATE VIEW lottery AS SELECT id FROM customer WHERE random() < 0.5;
CREATE VIEW nested_lottery AS SELECT id FROM lottery;
CREATE MATERIALIZED VIEW region_size AS SELECT region, count(*) AS n FROM city GROUP BY region;

CREATE SCHEMA vault;
CREATE TABLE vault.secret (word text);
INSERT INTO vault.secret VALUES ('the-secret-word');
REVOKE ALL ON SCHEMA vault FROM trellis_reader;
REVOKE ALL ON vault.secret FROM trellis_reader;

CREATE SEQUENCE counter;
GRANT USAGE ON SEQUENCE counter TO PUBLIC;
CREATE TABLE log (line text);
GRANT SELECT, INSERT, UPDATE, DELETE ON log TO PUBLIC;
CREATE FUNCTION write_log(line text) RETURNS int LANGUAGE sql VOLATILE AS $$ INSERT INTO log VALUES (line) RETURNING 1 $$;
CREATE FUNCTION write_as_owner(line text) RETURNS int LANGUAGE sql VOLATILE SECURITY DEFINER
  AS $$ INSERT INTO log VALUES (line) RETURNING 1 $$;
CREATE FUNCTION of_city(c city) RETURNS int LANGUAGE sql VOLATILE AS $$ INSERT INTO log VALUES (c.name) RETURNING 1 $$;
CREATE FUNCTION sly(a int, b int) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT write_log('sly') + a + b $$;
CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = sly);
CREATE AGGREGATE noisy (int) (SFUNC = sly, STYPE = int, INITCOND = '0');
CREATE TYPE mood AS (feeling text);
CREATE FUNCTION to_mood(i int) RETURNS mood LANGUAGE plpgsql VOLATILE
  AS $$ BEGIN PERFORM write_log('mood'); RETURN ROW('calm')::mood; END $$;
CREATE CAST (int AS mood) WITH FUNCTION to_mood(int);
CREATE FUNCTION double_up(i int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 2 * i $$;
ANALYZE;
