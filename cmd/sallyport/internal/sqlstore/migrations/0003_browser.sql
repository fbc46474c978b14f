-- +goose Up

-- What an assertion was made with, as JSON. Of those made before this column
-- nothing is known, which is not the same as a browser that says nothing.
alter table session_tokens add column verified_browser text not null default '{}';
