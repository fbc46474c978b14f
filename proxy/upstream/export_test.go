package upstream

import (
	"errors"
	"io"

	"sallyport/proxy/upstream/h1"
)

// DiedNew reports whether err is a new connection that ended before an answer began.
// What was sent on it is not sent again: the upstream may have seen it.
func DiedNew(err error) bool {
	return !errors.Is(err, h1.ErrStale) && (errors.Is(err, io.EOF) || hungUp(err))
}
