package proxy

// Remembered is how many judgements are kept.
func (g *Gate) Remembered() int { return g.verdicts.EstimatedSize() }

// Live is of how many sessions the last place is known.
func (g *Gate) Live() int { g.live.CleanUp(); return g.live.EstimatedSize() }
