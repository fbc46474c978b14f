-- +goose Up

-- People who may not sign in, by address, by subject, or by both: providers change addresses, and
-- a person who is blocked before their first sign-in has no subject here yet.
create table blocked_people (
    email          text   not null,
    subject_issuer text   not null,
    subject_id     text   not null,
    why            text   not null check (why <> ''),
    blocked_by     text   not null,
    blocked_at     bigint not null,
    primary key (email, subject_issuer, subject_id),
    check (email <> '' or subject_id <> ''),
    check ((subject_issuer = '') = (subject_id = ''))
);
create index blocked_people_by_subject on blocked_people (subject_id, subject_issuer);
