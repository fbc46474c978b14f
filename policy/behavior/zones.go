package behavior

import "slices"

// Zones are the IANA time zones of a country (ISO 3166-1 alpha-2), in the order of zone.tab;
// none for a country that is not known.
func Zones(country string) []string { return slices.Clone(world().countries[countryOf(country)]) }
