package authn

import "net/netip"

// Bound is how many one-time records of a purpose a store keeps of those that strangers
// can make. Beyond it the oldest make room: of the group first, and in total, of the part
// of the network (Wide) that has most, so that a client that fills the store loses its
// own records and not other people's.
type Bound struct {
	Group    string // who makes it: a network, a session
	Wide     string // the larger network, or the person, that the group is part of
	PerGroup int    // records of one group
	InAll    int    // records of all groups
}

// BoundOf is the bound for a client by its network: an IPv4 /24 in its /16, an IPv6 /64
// in its /32, which is what a provider is given. All whose address cannot be told are
// one.
func BoundOf(client netip.Addr, perGroup, inAll int) Bound {
	b := Bound{Group: "unknown", Wide: "unknown", PerGroup: perGroup, InAll: inAll}
	if client = client.WithZone("").Unmap(); !client.IsValid() {
		return b
	}
	narrow, wide := 64, 32
	if client.Is4() {
		narrow, wide = 24, 16
	}
	// An error is for lengths that the address does not have.
	group, _ := client.Prefix(narrow)
	part, _ := client.Prefix(wide)
	b.Group, b.Wide = group.String(), part.String()
	return b
}
