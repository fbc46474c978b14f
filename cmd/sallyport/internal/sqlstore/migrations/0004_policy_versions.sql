-- +goose Up

-- What became of every policy that somebody wanted in force, newest number last.
create table policy_versions (
    seq      bigint not null primary key,
    at       bigint not null,
    hash     text   not null check (hash <> ''),
    outcome  text   not null check (outcome in ('applied', 'forced', 'rolled_back', 'refused')),
    origin   text   not null check (origin in ('start', 'file', 'signal', 'command')),
    operator text   not null, -- operating-system user of a command; empty if there was none
    detail   text   not null  -- why it was refused, or what it was forced against
);
create index policy_versions_by_hash on policy_versions (hash);

-- The text of those that were in force, once each.
create table policy_texts (
    hash   text not null primary key check (hash <> ''),
    source text not null
);

-- What commands ask of the process that serves, and its answers.
create table policy_requests (
    seq      bigint not null primary key,
    at       bigint not null,
    operator text   not null check (operator <> ''),
    name     text   not null, -- of the file, for messages
    source   text   not null,
    forced   bigint not null check (forced in (0, 1)),
    rollback bigint not null check (rollback in (0, 1)),
    state    text   not null check (state in ('waiting', 'taken', 'applied', 'refused')),
    answer   text   not null
);

create table policy_counter (
    id   bigint not null primary key check (id = 1),
    last bigint not null
);
insert into policy_counter (id, last) values (1, 0);
