//go:build race

package edge_test

func init() { raceDetector = true }
