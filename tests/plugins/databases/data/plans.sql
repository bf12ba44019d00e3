SELECT c.name, count(*) FROM city c, customer u, orders o, item i
WHERE u.city_id = c.id AND o.customer_id = u.id AND i.order_id = o.id AND c.region = 'north' GROUP BY c.name;

SELECT count(*) FROM customer u JOIN orders o ON o.customer_id = u.id WHERE u.id < 5;

SELECT u.name FROM city c JOIN customer u ON u.city_id = c.id
LEFT JOIN orders o ON o.customer_id = u.id AND o.status = 'open' WHERE c.id = 3;

SELECT u.name FROM customer u LEFT JOIN city c ON u.city_id = c.id JOIN orders o ON o.customer_id = u.id WHERE o.id < 50;

SELECT o.id FROM orders o JOIN customer u ON o.customer_id = u.id
WHERE o.status = 'open' AND EXISTS (SELECT 1 FROM item i WHERE i.order_id = o.id AND i.price > 40);

SELECT count(*) FROM customer a, customer b, orders o
WHERE a.city_id = b.city_id AND a.id = o.customer_id AND o.id < 20;

SELECT count(*) FROM visit v JOIN customer u ON v.customer_id = u.id JOIN city c ON c.id = u.city_id WHERE c.id = 1;

WITH rich AS MATERIALIZED (
  SELECT o.customer_id, sum(i.price) AS paid FROM orders o JOIN item i ON i.order_id = o.id GROUP BY o.customer_id)
SELECT u.name FROM rich, customer u, city c WHERE u.id = rich.customer_id AND c.id = u.city_id AND rich.paid > 90;
