-- +goose Up

-- The text of the exceptions in force: the file may hold others, which were refused or are
-- not taken up yet.
create table policy_exceptions (
	id bigint primary key check (id = 1),
	source text not null
);
