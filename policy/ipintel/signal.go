package ipintel

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Signal is a set of statements of sources about an address. The zero value says nothing,
// which is not the same as "clean": there may be no source.
type Signal uint8

const (
	VPN              Signal = 1 << iota // a VPN exit
	Hosting                             // a cloud, hosting or data-centre address
	Tor                                 // a Tor exit
	Proxy                               // a public proxy, or an anonymiser of a kind the source does not name
	ResidentialProxy                    // a home address that relays other people's traffic
	Relay                               // a privacy relay, such as iCloud Private Relay
)

// allSignals is every bit with a name.
const allSignals = VPN | Hosting | Tor | Proxy | ResidentialProxy | Relay

var signalNames = [...]string{"vpn", "hosting", "tor", "proxy", "residential_proxy", "relay"}

// ParseSignal gives the signal of one name, as configuration writes it.
func ParseSignal(name string) (Signal, error) {
	for i, n := range signalNames {
		if n == name {
			return 1 << i, nil
		}
	}
	return 0, fmt.Errorf("%q is not a signal (%s)", clip(name), strings.Join(signalNames[:], ", "))
}

// Has reports whether every signal of x is in s.
func (s Signal) Has(x Signal) bool { return s&x == x }

// Names gives the names of the signals in s, in a fixed order; never nil, so that its
// JSON is an array.
func (s Signal) Names() []string {
	names := []string{}
	for i, n := range signalNames {
		if s&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

func (s Signal) String() string { return strings.Join(s.Names(), ",") }

// MarshalJSON writes the names as an array.
func (s Signal) MarshalJSON() ([]byte, error) { return json.Marshal(s.Names()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Signal) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return err
	}
	var all Signal
	for _, n := range names {
		one, err := ParseSignal(n)
		if err != nil {
			return err
		}
		all |= one
	}
	*s = all
	return nil
}

// clip bounds text from a data file before it goes into a message.
func clip(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
