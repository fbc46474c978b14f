-- +goose Up

-- A request with this is for a file of exceptions, in the place of the one with this hash.
alter table policy_requests add column exceptions_onto text not null default '';
