-- +goose Up

-- Where in their country the person works (ISO 3166-2), from the roster.
alter table sessions add column region text not null default '';
