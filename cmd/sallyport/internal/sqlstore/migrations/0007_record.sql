-- +goose Up

-- The audit log's last signed checkpoint, so that a log whose files were all put back is noticed.
create table audit_checkpoint (
    id   bigint not null primary key check (id = 1),
    note bytea  not null check (length(note) > 0)
);
