-- +goose Up

-- What each source of IP data held when an operator last stood by it, in figures, so that a list
-- that changes a little every day is compared with more than yesterday.
create table data_baselines (
    source   text   not null, -- name
    setting  text   not null, -- kind, file, format and signal: another setting is another source
    at       bigint not null,
    operator text   not null, -- empty: no operator, the first content that was used
    sha256   text   not null,
    figures  text   not null, -- JSON
    primary key (source, setting)
);
