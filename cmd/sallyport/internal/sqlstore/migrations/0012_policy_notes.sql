-- +goose Up

-- What an operator wrote beside a policy, and which policy a request continues: another one in
-- force by then refuses it.
alter table policy_versions add column note text not null default '';
alter table policy_requests add column note text not null default '';
alter table policy_requests add column base text not null default '';
