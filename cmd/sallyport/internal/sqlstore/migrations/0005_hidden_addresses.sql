-- +goose Up

-- Which sightings still have an address: where those live for less than two days, all the
-- others would be gone through each time.
create index behavior_sightings_with_address on behavior_sightings (at) where address <> '';
