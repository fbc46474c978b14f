package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// DataSource is one IP data source as it was at the time of a decision.
type DataSource struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	// Built is when its content was made; zero if none was loaded. Lists that are written
	// once have it, since it stays the same.
	Built time.Time `json:"built,omitzero"`
	// AgeHours is how old that was at the time of the decision; -1 if none was loaded. It
	// stands in the records of programs that wrote the whole list with each decision.
	AgeHours int64 `json:"age_hours,omitempty"`
}

// DataList is a list of IP data sources that many decisions rest on. The log writes it
// once in each file, in a record of its own before the first that refers to it.
type DataList struct {
	hash string
	body []byte // of its record
}

// EventData is a record that holds a list of IP data sources: Data is the list, DataHash
// its name in the records that rest on it.
const EventData = "ip_data"

// NewDataList makes a list to refer to. What does not fit a line is cut from its record,
// and the hash is of the whole.
func NewDataList(sources []DataSource) (*DataList, error) {
	text, err := json.Marshal(sources)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	l := &DataList{hash: hex.EncodeToString(sum[:])}
	l.body, err = encode(&Record{Event: EventData, Data: sources, DataHash: l.hash})
	return l, err
}

// maxLists bounds what a reader remembers; a log names a new one when data is refreshed.
const maxLists = 1000

// dataLists are the lists that a reader met, by hash.
type dataLists map[string][]DataSource

// resolve gives a record the list that it refers to. Where the list was not met, in a
// tail of a log or after lines were lost, the record keeps its hash alone.
func (d dataLists) resolve(r *Record) {
	switch {
	case r.DataHash == "":
	case r.Event == EventData:
		if len(d) >= maxLists {
			clear(d)
		}
		d[r.DataHash] = r.Data
	case r.Data == nil:
		for _, s := range d[r.DataHash] {
			if s.AgeHours = -1; !s.Built.IsZero() {
				s.AgeHours = int64(max(0, r.Time.Sub(s.Built)) / time.Hour)
			}
			r.Data = append(r.Data, s)
		}
	}
}
