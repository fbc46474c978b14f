-- +goose Up

-- The text of the pinned invariants in force: a start must notice if their file lost some.
create table policy_pins (
	id bigint primary key check (id = 1),
	source text not null
);
