package edge

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
)

// LiveMemory returns a function for ShedConfig.Memory: the part of limit that is in use
// and would stay in use after a garbage collection. A limit of zero is the one of
// GOMEMLIMIT or debug.SetMemoryLimit; without any, the answer is always zero.
//
// The memory of the process is the wrong measure: with a limit set, the runtime lets
// garbage grow up to it. The live heap is that of the last collection, and close to the
// limit collections are frequent.
func LiveMemory(limit int64) func() float64 {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/os-stacks:bytes"},
		{Name: "/memory/classes/metadata/mspan/inuse:bytes"},
		{Name: "/memory/classes/metadata/other:bytes"},
	}
	return func() float64 {
		of := limit
		if of <= 0 {
			of = debug.SetMemoryLimit(-1) // negative: only asks
		}
		if of == math.MaxInt64 {
			return 0
		}
		metrics.Read(samples)
		var used uint64
		for _, s := range samples {
			if s.Value.Kind() == metrics.KindUint64 {
				used += s.Value.Uint64()
			}
		}
		return float64(used) / float64(of)
	}
}
