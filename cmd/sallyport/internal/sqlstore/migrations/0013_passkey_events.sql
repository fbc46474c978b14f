-- +goose Up

-- What people did with passkeys: enrolled one (1), were asked for one (2), gave it (3).
create table behavior_events (
    seq            bigint not null primary key,
    subject_issuer text   not null check (subject_issuer <> ''),
    subject_id     text   not null check (subject_id <> ''),
    at             bigint not null,
    kind           bigint not null check (kind in (1, 2, 3)),
    host           bigint not null, -- of an enrolment, as in behavior_sightings
    site           bigint not null,
    device         text   not null,
    session_id     text   not null  -- of the others
);
create index behavior_events_by_subject on behavior_events (subject_id, subject_issuer);
create index behavior_events_by_time on behavior_events (at);

-- In which hours (UTC) of a day a person did something themselves, for 30 days.
create table behavior_days (
    subject_issuer text   not null check (subject_issuer <> ''),
    subject_id     text   not null check (subject_id <> ''),
    day            bigint not null, -- since 1970
    hours          bigint not null check (hours between 0 and 16777215),
    primary key (subject_id, subject_issuer, day)
);
create index behavior_days_by_day on behavior_days (day);
