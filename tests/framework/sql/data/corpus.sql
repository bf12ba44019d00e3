-- comma
SELECT count(*) FROM city c, person p, sale s WHERE p.city_id = c.id AND s.person_id = p.id AND s.qty > 1;
-- comma with outputs
SELECT p.id, i.name, s.qty FROM person AS p, sale AS s, item AS i WHERE s.person_id = p.id AND i.item_id = s.item_id AND (p.age > 2 OR i.price < 2);
-- star over commas
SELECT * FROM city c, person p, visit v WHERE p.city_id = c.id AND v.person_id = p.id;
-- star and more
SELECT DISTINCT p.id + 1 AS next, *, c.name FROM person p, city c, sale s WHERE c.id = p.city_id AND s.person_id = p.id;
-- table names without aliases
SELECT city.name, person.age FROM city, person, sale WHERE city.id = person.city_id AND sale.person_id = person.id;
-- inner joins
SELECT p.id, c.name FROM person p JOIN city c ON p.city_id = c.id INNER JOIN sale s ON s.person_id = p.id AND s.qty < 3 CROSS JOIN tag t;
-- inner joins with WHERE and OR
SELECT p.id, s.id FROM person p JOIN sale s ON s.person_id = p.id OR s.qty = p.age JOIN item i ON i.item_id = s.item_id WHERE p.age = 1 OR i.kind = 2 OR s.qty IS NULL;
-- nested joins
SELECT count(*), sum(s.qty) FROM person p JOIN (sale s JOIN item i ON i.item_id = s.item_id) ON s.person_id = p.id JOIN tag t ON t.item_id = i.item_id;
-- joins whose conditions come later
SELECT p.id, t.name FROM person p JOIN sale s JOIN tag t ON t.item_id = s.item_id ON s.person_id = p.id, city c WHERE c.id = p.city_id;
-- unqualified columns
SELECT age, qty, region FROM person JOIN sale ON person_id = person.id JOIN city ON city_id = city.id WHERE qty > 0;
-- using
SELECT item_id, i.name, s.qty FROM item i JOIN sale s USING (item_id) JOIN tag t USING (item_id) WHERE item_id > 0;
-- using star
SELECT * FROM item i JOIN sale s USING (item_id) JOIN tag t USING (item_id);
-- using two columns
SELECT kind, count(*) FROM item JOIN tag USING (item_id, kind) JOIN sale USING (item_id) GROUP BY kind ORDER BY kind;
-- using in order by and a subquery
SELECT s.id, (SELECT max(t.name) FROM tag t WHERE t.item_id = item_id) AS top FROM item i JOIN sale s USING (item_id) JOIN person p ON p.id = s.person_id ORDER BY item_id, s.id;
-- using left
SELECT item_id, kind, i.name FROM sale s LEFT JOIN item i USING (item_id) JOIN person p ON p.id = s.person_id;
-- using right star
SELECT * FROM sale s JOIN person p ON p.id = s.person_id RIGHT JOIN item i USING (item_id);
-- natural
SELECT item_id, kind, price FROM item NATURAL JOIN sale JOIN city c ON c.id = qty;
-- natural star
SELECT * FROM sale NATURAL JOIN person CROSS JOIN city c;
-- natural without common columns
SELECT count(*) FROM tag NATURAL JOIN visit, city WHERE city.id = city_id;
-- natural left
SELECT * FROM visit NATURAL LEFT JOIN (SELECT id AS person_id, age FROM person) p, city WHERE city.id = visit.city_id;
-- left
SELECT p.id, c.name, s.qty FROM person p LEFT JOIN city c ON c.id = p.city_id JOIN sale s ON s.person_id = p.id;
-- left chain
SELECT p.id, s.id, i.name, t.name FROM person p LEFT JOIN sale s ON s.person_id = p.id LEFT JOIN item i ON i.item_id = s.item_id LEFT JOIN tag t ON t.item_id = i.item_id AND t.kind = p.age;
-- left with filters on both sides in ON
SELECT p.id, c.id, v."At" FROM person p LEFT JOIN city c ON c.id = p.city_id AND p.age > 1 AND c.region = 1 LEFT JOIN visit v ON v.person_id = p.id AND c.id IS NULL JOIN sale s ON s.person_id = p.id;
-- left of joined tables
SELECT p.id, s.id, i.price FROM person p LEFT JOIN (sale s JOIN item i ON i.item_id = s.item_id AND i.price > 1) ON s.person_id = p.id JOIN city c ON c.id = p.city_id;
-- left of joined tables with a left inside
SELECT p.id, s.id, i.price, t.name FROM person p JOIN city c ON c.id = p.city_id LEFT JOIN (sale s LEFT JOIN tag t ON t.item_id = s.item_id JOIN item i ON i.item_id = s.item_id OR t.kind = i.kind) ON s.person_id = p.id AND t.name IS NULL;
-- left and commas
SELECT * FROM city c, person p LEFT JOIN sale s ON s.person_id = p.id, item i WHERE c.id = p.city_id AND (s.item_id = i.item_id OR s.item_id IS NULL);
-- left on nothing of the left
SELECT p.id, i.name FROM person p LEFT JOIN item i ON i.price > 2 JOIN city c ON c.id = p.city_id;
-- left on true
SELECT count(*), count(i.name) FROM person p LEFT JOIN item i ON TRUE, city c WHERE c.id = p.city_id;
-- anti join
SELECT p.id FROM person p LEFT JOIN sale s ON s.person_id = p.id JOIN city c ON c.id = p.city_id WHERE s.id IS NULL;
-- inner join on a nullable column
SELECT p.id, i.name FROM person p LEFT JOIN sale s ON s.person_id = p.id JOIN item i ON i.item_id = s.item_id OR s.item_id IS NULL;
-- right
SELECT p.id, s.id, i.name FROM person p JOIN sale s ON s.person_id = p.id RIGHT JOIN item i ON i.item_id = s.item_id AND p.age < 3 JOIN tag t ON t.item_id = i.item_id;
-- right after comma
SELECT * FROM city c, sale s RIGHT JOIN person p ON s.person_id = p.id WHERE c.id = p.city_id OR s.id IS NULL;
-- left and right
SELECT p.id, c.id, v."At", s.id FROM person p LEFT JOIN city c ON c.id = p.city_id RIGHT JOIN visit v ON v.person_id = p.id JOIN sale s ON s.qty = v."At" OR p.id IS NULL;
-- full
SELECT p.id, c.id, s.id FROM person p FULL JOIN city c ON c.id = p.city_id JOIN sale s ON s.person_id = p.id;
-- self-joins
SELECT a.id, b.id, c.id FROM person a, person b, person c WHERE a.boss_id = b.id AND b.boss_id = c.id AND a.age < c.age;
-- self-joins with star
SELECT * FROM person a JOIN person b ON a.boss_id = b.id LEFT JOIN person c ON b.boss_id = c.id;
-- quoted and folded names
SELECT "P".ID, V."At" FROM Person "P", Visit V, City AS "order" WHERE "P".id = v.Person_Id AND "order".id = "P".city_id;
-- cycle
SELECT count(*) FROM person p, visit v, city c WHERE p.id = v.person_id AND v.city_id = c.id AND p.city_id = c.id;
-- three-way predicate
SELECT p.id, s.id, i.item_id FROM person p, sale s, item i WHERE p.id + s.id = i.item_id AND s.qty IS DISTINCT FROM i.kind;
-- exists and in
SELECT p.id FROM person p, city c, visit v WHERE p.city_id = c.id AND v.person_id = p.id AND EXISTS (SELECT * FROM sale s, item i WHERE s.item_id = i.item_id AND s.person_id = p.id) AND c.id IN (SELECT v2.city_id FROM visit v2 JOIN person p2 ON p2.id = v2.person_id);
-- subquery in an ON condition
SELECT p.id, s.id FROM person p JOIN sale s ON s.person_id = p.id AND s.qty = (SELECT max(s2.qty) FROM sale s2, item i2 WHERE s2.item_id = i2.item_id AND s2.person_id = p.id) JOIN city c ON c.id = p.city_id;
-- subquery in FROM
SELECT d.n, p.id, c.name FROM person p JOIN (SELECT s.person_id, count(*) AS n FROM sale s JOIN item i ON s.item_id = i.item_id LEFT JOIN tag t ON t.item_id = i.item_id GROUP BY s.person_id) d ON d.person_id = p.id JOIN city c ON c.id = p.city_id;
-- star over subqueries
SELECT * FROM (SELECT * FROM person p, city c, visit v WHERE p.city_id = c.id AND v.person_id = p.id) q(a, b), item i, (VALUES (1, 'x'), (2, NULL)) w(n, m) WHERE w.n = i.item_id AND q.a = i.kind;
-- scalar subquery
SELECT p.id, (SELECT count(*) FROM sale s, item i, tag t WHERE s.item_id = i.item_id AND t.item_id = i.item_id AND s.person_id = p.id) AS n FROM person p, city c WHERE c.id = p.city_id;
-- ctes
WITH sold AS (SELECT s.item_id, sum(s.qty) AS n FROM sale s, person p, city c WHERE p.id = s.person_id AND c.id = p.city_id GROUP BY 1), cheap AS (SELECT * FROM item WHERE price < 3) SELECT x.n, y.name, t.kind FROM sold x JOIN cheap y ON y.item_id = x.item_id LEFT JOIN tag t ON t.item_id = y.item_id;
-- recursive cte
WITH RECURSIVE up(id, boss, depth) AS (SELECT p.id, p.boss_id, 0 FROM person p UNION SELECT u.id, q.boss_id, u.depth + 1 FROM up u, person q, city c WHERE q.id = u.boss AND c.id = q.city_id AND u.depth < 3) SELECT u2.id, u2.depth, r.age FROM up u2 JOIN person r ON r.id = u2.boss JOIN visit v ON v.person_id = r.id;
-- union
SELECT p.id FROM person p, city c, sale s WHERE p.city_id = c.id AND s.person_id = p.id UNION ALL SELECT i.item_id FROM item i LEFT JOIN tag t ON t.item_id = i.item_id JOIN sale s2 ON s2.item_id = i.item_id ORDER BY 1;
-- except in parentheses
(SELECT * FROM city c1, visit v1, person p1 WHERE c1.id = v1.city_id AND p1.id = v1.person_id) EXCEPT (SELECT * FROM city c2, visit v2, person p2 WHERE c2.id = v2.city_id AND p2.id = v2.person_id AND p2.age > 2);
-- group by, having, filter
SELECT c.region, count(*) FILTER (WHERE s.qty > 1) AS n, max(p.age) FROM city c JOIN person p ON p.city_id = c.id LEFT JOIN sale s ON s.person_id = p.id GROUP BY c.region HAVING count(*) > 1 ORDER BY c.region LIMIT 5;
-- windows
SELECT p.id, sum(s.qty) OVER w, rank() OVER (PARTITION BY c.id ORDER BY p.age) FROM person p, city c, sale s WHERE p.city_id = c.id AND s.person_id = p.id WINDOW w AS (PARTITION BY p.id);
-- view
SELECT * FROM buyer b, item i, tag t WHERE b.item_id = i.item_id AND t.item_id = i.item_id;
-- lateral
SELECT p.id, l.n FROM person p, LATERAL (SELECT count(*) AS n FROM sale s WHERE s.person_id = p.id) l, city c WHERE c.id = p.city_id;
-- functions
SELECT g.n, p.id, c.name FROM generate_series(0, 3) AS g(n), person p, city c WHERE g.n = p.age AND c.id = p.city_id;
-- function without alias
SELECT generate_series, p.id FROM generate_series(0, 3), person p, city c WHERE generate_series = p.age AND c.id = p.city_id;
-- function of a relation
SELECT p.id, u FROM person p, unnest(ARRAY[p.age, p.id]) AS u, city c WHERE c.id = p.city_id;
-- whole row
SELECT p, count(s) FROM person p, sale s, city c WHERE s.person_id = p.id AND c.id = p.city_id GROUP BY p;
-- comments and odd names of columns
SELECT /* SELECT * FROM x */ p.id AS "from", 'FROM a, b' AS "where" -- FROM nothing
FROM person p -- , city
JOIN city c ON c.id /* = */ = p.city_id -- the city
JOIN sale s ON s.person_id = p.id -- last
WHERE s.qty > 0 -- end
ORDER BY 1, 2;
-- extract and casts
SELECT extract(year FROM d.d)::int AS y, (s.qty)::text || 'x', p.id FROM (SELECT DATE '2020-01-05' AS d) d, sale s JOIN person p ON p.id = s.person_id WHERE substring(s.qty::text FROM 1 FOR 1) >= '1';
