package proxy

// Remembered is how many judgements are kept.
func (g *Gate) Remembered() int { return g.verdicts.EstimatedSize() }
