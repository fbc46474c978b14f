-- +goose Up

-- Every e-mail address that a person was seen under. Providers change addresses: sessions have the newest
-- alone, and whoever is looked for under an older one must be found.
create table known_addresses (
    subject_issuer text   not null check (subject_issuer <> ''),
    subject_id     text   not null check (subject_id <> ''),
    email          text   not null check (email <> ''),
    first_at       bigint not null,
    last_at        bigint not null,
    primary key (subject_issuer, subject_id, email)
);
create index known_addresses_by_email on known_addresses (email);
create index known_addresses_by_subject on known_addresses (subject_id);

insert into known_addresses (subject_issuer, subject_id, email, first_at, last_at)
    select issuer, id, email, min(at), max(at) from (
        select subject_issuer as issuer, subject_id as id, email, coalesce(refreshed_at, created_at) as at from sessions
        union all
        select redeemed_issuer, redeemed_id, email, redeemed_at from tickets where redeemed_at is not null
    ) as seen where email <> '' and issuer <> '' and id <> '' group by issuer, id, email;
