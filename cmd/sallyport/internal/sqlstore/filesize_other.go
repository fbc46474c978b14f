//go:build !unix

package sqlstore

func largestFile() (bytes uint64, limited bool) { return 0, false }
