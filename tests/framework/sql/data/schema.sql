CREATE TABLE city (id int, name text, region int);
CREATE TABLE person (id int, city_id int, boss_id int, age int);
CREATE TABLE item (item_id int, name text, price int, kind int);
CREATE TABLE sale (id int, person_id int, item_id int, qty int);
CREATE TABLE tag (item_id int, kind int, name text);
CREATE TABLE visit (person_id int, city_id int, "At" int);
CREATE TABLE big (id bigint, name text);
CREATE VIEW buyer AS SELECT p.id, p.age, s.item_id FROM person p JOIN sale s ON s.person_id = p.id;
