package h1

// Sweep is what the timer of the idle connections does.
func (t *Transport) Sweep() { t.idle.sweep() }

// Idle is the number of idle connections.
func (t *Transport) Idle() int {
	t.idle.mu.Lock()
	defer t.idle.mu.Unlock()
	return len(t.idle.stack)
}
