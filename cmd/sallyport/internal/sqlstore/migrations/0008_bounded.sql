-- +goose Up

-- Who made a one-time record that strangers can make: its network or session, and the wider one. Empty
-- for others.
alter table once_records add column maker text not null default '';
alter table once_records add column maker_wide text not null default '';
create index once_records_by_maker on once_records (purpose, maker, expires_at, key);
create index once_records_by_wide on once_records (purpose, maker_wide, expires_at, key);
