-- +goose Up

-- What `data apply` asks of the processes that serve: to look at their IP data again, and
-- whether its content, by hash, is meant whoever it locks out.
create table data_requests (
    seq      bigint not null primary key,
    at       bigint not null,
    operator text   not null check (operator <> ''),
    forced   bigint not null check (forced in (0, 1)),
    sources  text   not null, -- JSON: hash by name
    answer   text   not null  -- empty until a process has taken it up
);

create table data_counter (
    id   bigint not null primary key check (id = 1),
    last bigint not null
);
insert into data_counter (id, last) values (1, 0);

-- Of the wider network that a household's networks lie in (IPv6: a /56): a keyed hash, as host is. 0 for
-- none that counts, and in rows that are older than this.
alter table behavior_sightings add column site bigint not null default 0;
alter table behavior_places add column site bigint not null default 0;
