-- +goose Up

-- The text below runs on SQLite and on PostgreSQL. Hence: text, bigint and
-- bytea only. SQLite has no type bytea and gives such a column NUMERIC
-- affinity, which leaves blobs as they are. Times are microseconds since 1970,
-- null where the time is "never". Lists are JSON arrays in text. Truth is 0 or 1.

create table sessions (
    id               text   not null primary key check (id <> ''),
    subject_issuer   text   not null check (subject_issuer <> ''),
    subject_id       text   not null check (subject_id <> ''),
    email            text   not null,
    name             text   not null,
    group_names      text   not null,
    country_codes    text   not null,
    time_zone        text   not null,
    created_at       bigint not null,
    expires_at       bigint not null,
    last_seen_at     bigint not null,
    auth_time        bigint,
    provider_session text   not null,
    id_token         bytea,
    refresh_token    bytea,
    refreshed_at     bigint,
    check (expires_at > created_at)
);
create index sessions_by_subject on sessions (subject_id, subject_issuer);
create index sessions_by_email on sessions (email);
create index sessions_by_provider_session on sessions (provider_session, subject_issuer);

-- A host knows one token of a session at a time: what replaces it kills it.
create table session_tokens (
    digest              bytea  not null primary key check (length(digest) = 32),
    session_id          text   not null references sessions (id) on delete cascade,
    host                text   not null check (host <> ''),
    created_at          bigint not null,
    verified_at         bigint,
    verified_addr       text   not null,
    verified_credential text   not null,
    verified_with       bytea, -- the id in verified_credential
    unique (session_id, host)
);
create index session_tokens_by_credential on session_tokens (verified_with);

-- Readers ask for what lies after the number they have seen. The one row of
-- change_counter gives out the numbers: who holds it commits before the next
-- one is given, so that numbers appear in the order in which they were given.
create table session_changes (
    seq        bigint not null primary key,
    session_id text   not null
);
create table change_counter (
    id      bigint not null primary key check (id = 1),
    last    bigint not null, -- the newest number
    trimmed bigint not null, -- the newest number that is no longer in the log
    check (last >= trimmed)
);
insert into change_counter (id, last, trimmed) values (1, 1, 1);

create table key_ring (
    key_use    text   not null check (key_use <> ''),
    seq        bigint not null, -- the order in which keys were added: clocks differ
    id         text   not null check (id <> ''),
    secret     bytea  not null check (length(secret) > 0),
    created_at bigint not null,
    primary key (key_use, seq),
    unique (key_use, id)
);

create table once_records (
    purpose    text   not null check (purpose <> ''),
    key        bytea  not null check (length(key) = 32),
    payload    bytea,
    expires_at bigint not null,
    primary key (purpose, key)
);
create index once_records_by_end on once_records (expires_at);

create table user_handles (
    subject_issuer text  not null check (subject_issuer <> ''),
    subject_id     text  not null check (subject_id <> ''),
    handle         bytea not null unique check (length(handle) = 64),
    primary key (subject_issuer, subject_id)
);

create table credentials (
    id                 bytea  not null primary key check (length(id) > 0),
    subject_issuer     text   not null check (subject_issuer <> ''),
    subject_id         text   not null check (subject_id <> ''),
    name               text   not null,
    class              text   not null check (class in ('synced', 'unattested', 'attested')),
    aaguid             text   not null,
    attestation_format text   not null,
    attestation_type   text   not null,
    transports         text   not null,
    backup_eligible    bigint not null check (backup_eligible in (0, 1)),
    backed_up          bigint not null check (backed_up in (0, 1)),
    created_at         bigint not null,
    last_used_at       bigint,
    public_key         bytea  not null check (length(public_key) > 0),
    sign_count         bigint not null check (sign_count between 0 and 4294967295),
    data               bytea,
    blocked            text   not null -- why it must not be used; empty if it may
);
create index credentials_by_subject on credentials (subject_id, subject_issuer);

-- An assertion that was under way while its passkey was removed must not raise a
-- session afterwards. A row is a few bytes, and nobody removes passkeys in a loop.
create table removed_credentials (
    id bytea not null primary key check (length(id) > 0)
);

create table tickets (
    id              text   not null primary key check (id <> ''),
    digest          bytea  not null unique check (length(digest) = 32),
    email           text   not null check (email <> ''),
    note            text   not null,
    created_by      text   not null,
    created_at      bigint not null,
    expires_at      bigint not null,
    redeemed_at     bigint,
    redeemed_issuer text,
    redeemed_id     text,
    revoked_at      bigint,
    new_account     bigint not null check (new_account in (0, 1)),
    check (expires_at > created_at),
    check (redeemed_at is null or revoked_at is null),
    check ((redeemed_at is null) = (redeemed_id is null)),
    check ((redeemed_at is null) = (redeemed_issuer is null))
);
create index tickets_by_email on tickets (email);

-- What operators did by command, until the server has it in the audit log.
create table operator_events (
    seq      bigint not null primary key,
    at       bigint not null,
    operator text   not null check (operator <> ''),
    event    text   not null check (event <> ''),
    detail   text   not null
);
create table operator_counter (
    id   bigint not null primary key check (id = 1),
    last bigint not null
);
insert into operator_counter (id, last) values (1, 0);
