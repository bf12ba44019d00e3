-- comma items are joined as asked: (s (c p))
SELECT count(*) FROM city c, person p, sale s WHERE p.city_id = c.id AND s.person_id = p.id AND s.qty > 1;
-- =>
SELECT count(*) FROM sale s CROSS JOIN (city c CROSS JOIN person p) WHERE p.city_id = c.id AND s.person_id = p.id AND s.qty > 1;

-- ON moves to WHERE: ((s p) c)
SELECT p.id FROM person p JOIN city c ON p.city_id = c.id OR c.id = 1 JOIN sale s ON s.person_id = p.id WHERE p.age = 1 OR s.qty = 2 ORDER BY 1;
-- =>
SELECT p.id FROM (sale s CROSS JOIN person p) CROSS JOIN city c WHERE (p.city_id = c.id OR c.id = 1) AND (s.person_id = p.id) AND (p.age = 1 OR s.qty = 2) ORDER BY 1;

-- a left join keeps ON: ((s p) c)
SELECT p.id FROM person p LEFT JOIN city c ON p.city_id = c.id JOIN sale s ON s.person_id = p.id;
-- =>
SELECT p.id FROM (sale s CROSS JOIN person p) LEFT JOIN city c ON (p.city_id = c.id) WHERE (s.person_id = p.id);

-- a right join becomes a left join: ((t i) (s p))
SELECT 1 FROM person p JOIN sale s ON s.person_id = p.id RIGHT JOIN item i ON i.item_id = s.item_id JOIN tag t ON t.item_id = i.item_id;
-- =>
SELECT 1 FROM (tag t CROSS JOIN item i) LEFT JOIN (sale s CROSS JOIN person p) ON (i.item_id = s.item_id) AND (s.person_id = p.id) WHERE (t.item_id = i.item_id);

-- a star keeps its order: ((p c) v)
SELECT *, 1 FROM city c, visit v, person p;
-- =>
SELECT "c".*, "v".*, "p".*, 1 FROM (person p CROSS JOIN city c) CROSS JOIN visit v;

-- USING becomes equations and its column is named: (t (s i))
SELECT * FROM item i JOIN sale s USING (item_id) JOIN tag t USING (item_id) WHERE item_id > 1 ORDER BY item_id;
-- =>
SELECT "i"."item_id", "i"."name", "i"."price", "i"."kind", "s"."id", "s"."person_id", "s"."qty", "t"."kind", "t"."name" FROM tag t CROSS JOIN (sale s CROSS JOIN item i) WHERE ("i"."item_id" = "s"."item_id") AND ("i"."item_id" = "t"."item_id") AND ("i".item_id > 1) ORDER BY "i".item_id;

-- unqualified columns of ON are named: ((city sale) person)
SELECT age FROM person JOIN sale ON person_id = person.id JOIN city ON city_id = city.id;
-- =>
SELECT age FROM (city CROSS JOIN sale) CROSS JOIN person WHERE ("sale".person_id = person.id) AND ("person".city_id = city.id);

-- a subquery and the query around it: (c (p s)), (i (s2 t))
SELECT p.id FROM person p, city c, sale s WHERE p.id IN (SELECT s2.person_id FROM sale s2 JOIN item i ON i.item_id = s2.item_id, tag t) AND s.person_id = p.id;
-- =>
SELECT p.id FROM city c CROSS JOIN (person p CROSS JOIN sale s) WHERE p.id IN (SELECT s2.person_id FROM item i CROSS JOIN (sale s2 CROSS JOIN tag t) WHERE (i.item_id = s2.item_id)) AND s.person_id = p.id;

-- a block without a hint loses its JOINs' order: ((s p) c)
SELECT p.id FROM person p, city c, sale s WHERE EXISTS (SELECT 1 FROM visit v JOIN person q ON q.id = v.person_id JOIN tag t ON t.kind = q.age);
-- =>
SELECT p.id FROM (sale s CROSS JOIN person p) CROSS JOIN city c WHERE EXISTS (SELECT 1 FROM visit v, person q, tag t WHERE (q.id = v.person_id) AND (t.kind = q.age));

-- everything else stays letter for letter: (c p)
select  /* a, b */ p.id::int4 as "from", E'it\'s', now() -- FROM x
FROM person AS p -- , y
 , city c
where c.name = $$ WHERE $$ and p.age is distinct from 3 /* end */
GROUP BY p.id , p.age;
-- =>
select  /* a, b */ p.id::int4 as "from", E'it\'s', now() -- FROM x
FROM city c CROSS JOIN person AS p WHERE c.name = $$ WHERE $$ and p.age is distinct from 3 /* end */
GROUP BY p.id , p.age;
