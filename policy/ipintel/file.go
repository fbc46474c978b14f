package ipintel

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Larger files are refused unread. The largest databases sold are below 1 GiB.
const (
	maxDatabaseSize = 2 << 30
	maxListSize     = 256 << 20
)

// clockSlack is how far in the future a build time may lie: publishers' clocks and ours
// differ.
const clockSlack = 24 * time.Hour

var errChanging = errors.New("the file changed while it was read")

// content is a private copy of a file: one that is truncated or rewritten in place is not
// looked at again.
type content struct {
	data   []byte
	sha256 string
	info   os.FileInfo
}

// readFile reads a file whole, and refuses one that changed meanwhile: half of the old
// and half of the new may well parse.
func readFile(path string, limit int64) (content, error) {
	return readWith(path, limit, func(p string) (io.ReadCloser, error) { return os.Open(p) })
}

func readWith(path string, limit int64, open func(string) (io.ReadCloser, error)) (content, error) {
	before, err := os.Stat(path)
	if err != nil {
		return content{}, err
	}
	if !before.Mode().IsRegular() {
		return content{}, errors.New("not a regular file")
	}
	if before.Size() > limit {
		return content{}, fmt.Errorf("%d bytes is more than the %d that are accepted", before.Size(), limit)
	}
	f, err := open(path)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	data := make([]byte, before.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return content{}, fmt.Errorf("%w (%w)", errChanging, err)
	}
	after, err := os.Stat(path)
	if err != nil {
		return content{}, err
	}
	if !sameFile(before, after) {
		return content{}, errChanging
	}
	sum := sha256.Sum256(data)
	return content{data: data, sha256: hex.EncodeToString(sum[:]), info: before}, nil
}

// sameFile compares what stat says; nil is a file that is not there.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// builtAt settles the build time of a list: what the file declares, else when it was
// last written. A declared time in the future would hide how old the data is.
func builtAt(declared time.Time, info os.FileInfo, now time.Time) (time.Time, error) {
	if !declared.IsZero() {
		if declared.After(now.Add(clockSlack)) {
			return time.Time{}, fmt.Errorf("%w: %s", errBuild, declared.UTC().Format(time.RFC3339))
		}
		return declared.UTC(), nil
	}
	if mod := info.ModTime(); mod.Before(now) {
		return mod.UTC(), nil
	}
	return now.UTC(), nil
}
