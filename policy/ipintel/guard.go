package ipintel

import (
	"context"
	"errors"
	"fmt"
)

// ErrRefused is the guard's no to content that it has judged, as opposed to a judgement
// that could not be made. It is not asked again about the same file.
var ErrRefused = errors.New("the guard refuses it")

// Guard judges what new data would do to people before it is used. All fields may be nil.
// They are called with the watcher's lock held, and must not call it.
type Guard struct {
	// Approved reports whether an operator has said that the source is meant to hold the
	// content with this hash. It may then be much larger or smaller than what it
	// replaces.
	Approved func(source, sha256 string) bool
	// Baseline gives what new content is compared with besides what it replaces; false:
	// there is nothing yet.
	Baseline func(s Source) (Baseline, bool)
	// Refused learns of content, described by s, that is unlike what came before it and
	// does not come into use.
	Refused func(ctx context.Context, s Source, why error)
	// Admit calls c.Use if the change may come into use, and else says why not.
	Admit func(ctx context.Context, c Change) error
}

// Change is new data that waits to be used.
type Change struct {
	Next *Snapshot
	// Since is what Next is to be compared with: what was in use when these files were
	// read. Where one file after the other is judged, what each of them does adds up.
	Since *Snapshot
	// Sources are those of Next whose content is not that in use.
	Sources []Source
	// Alone is false for the first of several attempts: if it is refused, each source is
	// judged by itself.
	Alone bool
	// Use brings Next into use. It is called at most once, and before Admit returns.
	Use func() error
}

// compare is the gate that needs something to compare with: what is in use, and the
// baseline. Content that is in use already passes, and so does what an operator approved.
func (w *Watcher) compare(ctx context.Context, h *holding, next *loaded) error {
	if h.data != nil && h.data.sha256 == next.sha256 {
		return nil
	}
	src := h.spec.describe(next)
	var no error
	if h.data != nil {
		no = h.spec.unlike(h.data, next)
	}
	if no == nil && w.guard.Baseline != nil {
		if b, ok := w.guard.Baseline(src); ok {
			no = src.Drift(b)
		}
	}
	if no == nil {
		return nil
	}
	if w.guard.Approved != nil && w.guard.Approved(src.Name, src.SHA256) {
		next.waived = no.Error()
		return nil
	}
	no = fmt.Errorf("%s: %w%s", src.Name, no, meant)
	if w.guard.Refused != nil {
		w.guard.Refused(ctx, src, no)
	}
	return fmt.Errorf("%s: %w", h.spec.file, no)
}

// Guard has g judge all data that is read from now on.
func (w *Watcher) Guard(g Guard) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.guard = g
}

// admit brings into use what was read and may be used. Content that is what is in use
// already needs no judgement. All that changed is judged together, since that is how it
// will be used; if that is refused, each by itself, so that one bad list does not keep
// the others out.
func (w *Watcher) admit(ctx context.Context) (refusals []error, err error) {
	var same, fresh []*holding
	for _, h := range w.held {
		switch {
		case h.next == nil:
		case h.data != nil && h.data.sha256 == h.next.sha256:
			same = append(same, h)
		default:
			fresh = append(fresh, h)
		}
	}
	if len(same) > 0 {
		if err := w.use(same); err != nil {
			return nil, err
		}
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	since := w.Current()
	no, err := w.ask(ctx, since, len(fresh) == 1, fresh)
	if no == nil || err != nil {
		return nil, err
	}
	for _, h := range fresh {
		if len(fresh) > 1 {
			if no, err = w.ask(ctx, since, true, []*holding{h}); err != nil {
				return refusals, err
			}
		}
		if no == nil {
			continue
		}
		refusal := fmt.Errorf("%s: %w", h.spec.file, no)
		w.fail(h, refusal)
		h.next, h.judged = nil, errors.Is(no, ErrRefused)
		refusals = append(refusals, refusal)
	}
	return refusals, nil
}

// ask has the guard judge what was read of some sources, and use it. no is the guard's
// refusal; err is a fault of our own.
func (w *Watcher) ask(ctx context.Context, since *Snapshot, alone bool, fresh []*holding) (no, err error) {
	if w.guard.Admit == nil {
		return nil, w.use(fresh)
	}
	next, err := w.join(fresh)
	if err != nil {
		return nil, err
	}
	c := Change{Next: next, Since: since, Alone: alone}
	for _, h := range fresh {
		c.Sources = append(c.Sources, h.spec.describe(h.next))
	}
	c.Use = func() error { err = w.use(fresh); return err }
	no = w.guard.Admit(ctx, c)
	if err != nil {
		return nil, err
	}
	return no, nil
}

// use swaps in what was read of some sources.
func (w *Watcher) use(fresh []*holding) error {
	for _, h := range fresh {
		w.install(h)
	}
	if err := w.swap(); err != nil {
		return err
	}
	w.tell(w.Current())
	return nil
}
