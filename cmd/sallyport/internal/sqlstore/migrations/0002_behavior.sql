-- +goose Up

-- The person's first day, from the roster.
alter table sessions add column started_at bigint;

-- What was seen lately, as it was written: who, from where, with what. Readers ask for
-- what lies after the number they have seen; as in session_changes, who holds the
-- counter's row commits before the next number is given.
create table behavior_sightings (
    seq            bigint not null primary key,
    subject_issuer text   not null check (subject_issuer <> ''),
    subject_id     text   not null check (subject_id <> ''),
    at             bigint not null,
    first_at       bigint not null,
    address        text   not null, -- empty once it is not kept
    host           bigint not null, -- keyed hash of the address, 0 for none that counts
    network        bigint not null, -- keyed hash of its network, 0 for none that counts
    country        text   not null,
    asn            bigint not null,
    is_ipv6        bigint not null check (is_ipv6 in (0, 1)),
    flagged        bigint not null check (flagged in (0, 1)),
    device         text   not null,
    allowed        bigint not null check (allowed in (0, 1)),
    session_id     text   not null,
    lat            bigint, -- 1/10,000 of a degree; null where no journey begins or ends
    lon            bigint,
    radius         bigint, -- km
    check ((lat is null) = (lon is null)),
    check ((lat is null) = (radius is null)),
    check (first_at <= at)
);
create index behavior_sightings_by_subject on behavior_sightings (subject_id, subject_issuer);
create index behavior_sightings_by_time on behavior_sightings (at);

-- What became of it after two days: one row for each place and device of a person.
create table behavior_places (
    subject_issuer text   not null check (subject_issuer <> ''),
    subject_id     text   not null check (subject_id <> ''),
    address        text   not null,
    host           bigint not null,
    network        bigint not null,
    country        text   not null,
    asn            bigint not null,
    is_ipv6        bigint not null check (is_ipv6 in (0, 1)),
    flagged        bigint not null check (flagged in (0, 1)),
    device         text   not null,
    first_at       bigint not null,
    last_at        bigint not null,
    primary key (subject_id, subject_issuer, address, host, network, country, asn, is_ipv6, flagged, device),
    check (first_at <= last_at)
);
create index behavior_places_by_time on behavior_places (last_at);

-- In which five minutes of an hour somebody did something themselves.
create table behavior_activity (
    subject_issuer text   not null check (subject_issuer <> ''),
    subject_id     text   not null check (subject_id <> ''),
    at_hour        bigint not null, -- since 1970
    bits           bigint not null check (bits between 0 and 4095),
    seq            bigint not null unique,
    primary key (subject_id, subject_issuer, at_hour)
);
create index behavior_activity_by_hour on behavior_activity (at_hour);

create table behavior_counter (
    id   bigint not null primary key check (id = 1),
    last bigint not null
);
insert into behavior_counter (id, last) values (1, 0);
