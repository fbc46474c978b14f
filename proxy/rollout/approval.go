package rollout

import (
	"context"
	"encoding/json"
	"time"

	"sallyport/policy/ipintel"
)

// approvalLasts is how long an approval waits for its content. Every proxy of a fleet has
// files of its own, which may come later than those of the machine where the operator
// was.
const approvalLasts = time.Hour

// approval is an operator's word that one source is meant to hold one content. It counts
// once: content that was taken back and comes again is judged. A restart forgets it, and
// takes what the files hold anyway.
type approval struct {
	sha256, by string
	until      time.Time
}

// Approve remembers that an operator means this content, as it is, in this source. There
// is one approval a source: the newest.
func (d *Data) Approve(source, sha256, by string, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.approved == nil {
		d.approved = map[string]approval{}
	}
	d.approved[source] = approval{sha256, by, until}
}

func (d *Data) approvedBy(source, sha256 string) (by string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.approved[source]
	if !ok || p.sha256 != sha256 || !time.Now().Before(p.until) {
		return "", false
	}
	return p.by, true
}

// Approved reports whether an operator means this content in this source, and it is not
// in use yet.
func (d *Data) Approved(source, sha256 string) bool {
	_, ok := d.approvedBy(source, sha256)
	return ok
}

// spend ends the approval of content that has come into use, and says whose it was.
func (d *Data) spend(source, sha256 string) (by string, ok bool) {
	if by, ok = d.approvedBy(source, sha256); ok {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.approved, source)
	}
	return by, ok
}

// approveRequested approves the content that `data apply --force` found. Content that is
// in use already is not loaded again: the operator approves it, and later content is
// compared with it.
func (d *Data) approveRequested(ctx context.Context, r DataRequest) {
	for _, s := range d.watcher.Current().Sources() {
		switch sha256, asked := r.Sources[s.Name]; {
		case !asked:
		case s.SHA256 == sha256:
			d.standBy(ctx, s, r.By)
		default:
			d.Approve(s.Name, sha256, r.By, r.At.Add(approvalLasts))
		}
	}
}

// baseline gives the content that a source is compared with besides the one in use.
func (d *Data) baseline(s ipintel.Source) (ipintel.Baseline, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, ok := d.baselines[s.Name]
	return b, ok
}

// standByUsed moves the baseline of sources whose content an operator approved, and sets
// that of sources without one. Nothing else moves it, so that many small changes add up.
func (d *Data) standByUsed(ctx context.Context, used []ipintel.Source) {
	for _, s := range used {
		by, approved := d.spend(s.Name, s.SHA256)
		if _, have := d.baseline(s); approved || !have {
			d.standBy(ctx, s, by)
		}
	}
}

// standBy makes what a source holds its baseline. If it cannot be stored, this process
// goes by it all the same, and the next one by the one before.
func (d *Data) standBy(ctx context.Context, s ipintel.Source, by string) {
	b := ipintel.Baseline{At: time.Now(), Figures: s.Figures}
	d.mu.Lock()
	if d.baselines == nil {
		d.baselines = map[string]ipintel.Baseline{}
	}
	d.baselines[s.Name] = b
	d.mu.Unlock()
	figures, err := json.Marshal(b.Figures)
	if err == nil {
		err = d.config.Store.PutDataBaseline(ctx, Baseline{Source: s.Name, Setting: settingOf(s), At: b.At, By: by, SHA256: s.SHA256, Figures: string(figures)})
	}
	if err != nil {
		d.config.Logger.Error("the figures of IP data could not be stored", "source", s.Name, "error", err)
	}
}

// settingOf is the configuration of a source: after a change of its file or meaning, its
// content must not be compared with the old one. The type of a database is not part of
// it, because the file says that.
func settingOf(s ipintel.Source) string {
	if s.Kind == "database" {
		return s.Kind + " " + s.File
	}
	return s.Kind + " " + s.Type + " " + s.Signal + " " + s.File
}

// loadBaselines reads the baselines, makes those that are missing, and says which sources
// have drifted from theirs.
func (d *Data) loadBaselines(ctx context.Context) (drift map[string]error, err error) {
	stored, err := d.config.Store.DataBaselines(ctx)
	if err != nil {
		return nil, err
	}
	kept := map[[2]string]Baseline{}
	for _, b := range stored {
		kept[[2]string{b.Source, b.Setting}] = b
	}
	baselines := map[string]ipintel.Baseline{}
	d.mu.Lock()
	d.baselines = baselines
	d.mu.Unlock()
	drift = map[string]error{}
	for _, s := range d.watcher.Current().Sources() {
		b, ok := kept[[2]string{s.Name, settingOf(s)}]
		if !ok {
			if !s.Missing {
				d.standBy(ctx, s, "")
			}
			continue
		}
		was := ipintel.Baseline{At: b.At}
		if err := json.Unmarshal([]byte(b.Figures), &was.Figures); err != nil {
			return nil, err
		}
		d.mu.Lock()
		baselines[s.Name] = was
		d.mu.Unlock()
		if !s.Missing {
			drift[s.Name] = s.Drift(was)
		}
	}
	return drift, nil
}

// Baseline is what a source of IP data held when an operator last stood by it.
type Baseline struct {
	Source  string // name
	Setting string // what the configuration says of it; with the name it is the key
	At      time.Time
	By      string // "": no operator, the first content that was used
	SHA256  string
	Figures string // JSON
}
