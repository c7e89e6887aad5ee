package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// How the journal is kept.
const (
	// journalMargin is how far back events are looked for that are not in the
	// journal yet: clocks differ, and a transaction may commit late.
	journalMargin = 10 * time.Minute
	// journalKeepsOn is how much longer than its session's row a line is kept.
	journalKeepsOn = 30 * 24 * time.Hour
	trimEvery      = 24 * time.Hour
	// markEvery is how often the journal notes the service's own time.
	markEvery = time.Hour
)

// journalKeeper is what this process knows of the journal.
type journalKeeper struct {
	mu      sync.Mutex
	opened  bool
	written map[string]time.Time // lines of the last minutes, by their events
	from    time.Time            // events from here on may be missing
	trimmed time.Time
	marked  time.Time
	report  JournalReport
}

// JournalReport says what [Broker.Load] found in the journal.
type JournalReport struct {
	Lines    int
	Damaged  int
	Replayed int            // lines that the database had forgotten
	By       map[string]int // of them, by the name of the event
	// NewPasswords are the users whose password was changed since the backup: the
	// old one counts no more.
	NewPasswords []string
}

// JournalReport is that of this process.
func (b *Broker) JournalReport() JournalReport {
	b.journal.mu.Lock()
	defer b.journal.mu.Unlock()
	return b.journal.report
}

// writeJournal appends what has just been committed. What cannot be written now
// is copied from the database later.
func (b *Broker) writeJournal(ctx context.Context, lines []JournalLine) {
	if err := b.appendJournal(context.WithoutCancel(ctx), lines); err != nil {
		b.cfg.Log.ErrorContext(ctx, "the journal of ends cannot be written; it is tried again", "event", "journal.failed", "error", err)
	}
}

func (b *Broker) appendJournal(ctx context.Context, lines []JournalLine) error {
	if err := b.cfg.Journal.Append(ctx, lines); err != nil {
		return err
	}
	b.journal.mu.Lock()
	defer b.journal.mu.Unlock()
	for _, l := range lines {
		b.journal.written[l.ID] = time.UnixMilli(l.At)
	}
	return nil
}

// KeepJournal copies into the journal what the database says has ended and the
// journal does not: what another replica or a command ended, or what a full disk
// or a crash kept out. It is for the background.
func (b *Broker) KeepJournal(ctx context.Context) (left int, err error) {
	b.journal.mu.Lock()
	opened := b.journal.opened
	b.journal.mu.Unlock()
	if b.cfg.Journal == nil || !opened {
		return 0, nil
	}
	return 0, b.keepingJournal(ctx)
}

func (b *Broker) keepingJournal(ctx context.Context) error {
	if err := b.copyEnds(ctx); err != nil {
		return err
	}
	if err := b.markJournal(ctx); err != nil {
		return err
	}
	return b.trimJournal(ctx)
}

// copyEnds appends the events that the journal lacks, oldest first.
func (b *Broker) copyEnds(ctx context.Context) error {
	now := b.now()
	b.journal.mu.Lock()
	from := b.journal.from
	b.journal.mu.Unlock()
	f := EventFilter{Names: slices.Sorted(maps.Keys(journaled)), From: from, Limit: sweepBatch}
	lines := []JournalLine{}
	for {
		events, err := b.cfg.Store.ListEvents(ctx, f)
		if err != nil {
			return err
		}
		for _, e := range events {
			if line, ok := journalLine(e); ok && !b.inJournal(e.ID) {
				lines = append(lines, line)
			}
		}
		if len(events) < f.Limit {
			break
		}
		last := events[len(events)-1]
		f.BeforeAt, f.BeforeID = last.At, last.ID
	}
	if len(lines) > 0 {
		slices.Reverse(lines)
		if err := b.appendJournal(ctx, lines); err != nil {
			return err
		}
	}
	b.journal.mu.Lock()
	defer b.journal.mu.Unlock()
	b.journal.from = now.Add(-journalMargin)
	maps.DeleteFunc(b.journal.written, func(_ string, at time.Time) bool { return at.Before(b.journal.from.Add(-journalMargin)) })
	return nil
}

func (b *Broker) inJournal(id string) bool {
	b.journal.mu.Lock()
	defer b.journal.mu.Unlock()
	_, ok := b.journal.written[id]
	return ok
}

// journalHorizon is the moment before which lines are dropped. The audit log,
// by which a line is known to be in the database, looks further back.
func (b *Broker) journalHorizon(now time.Time) time.Time {
	return now.Add(-min(b.cfg.Lifetimes.Retention+journalKeepsOn, b.cfg.AuditRetention/10*9))
}

// markJournal notes how far the service's own time has come: a database that
// has not come so far is an older one.
func (b *Broker) markJournal(ctx context.Context) error {
	now := b.now()
	b.journal.mu.Lock()
	due := now.Sub(b.journal.marked).Abs() >= markEvery
	b.journal.mu.Unlock()
	if !due || b.cfg.Uptime == nil {
		return nil
	}
	service, err := b.cfg.Store.Uptime(ctx)
	if errors.Is(err, NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	mark := JournalLine{ID: b.newID(now), At: now.UnixMilli(), Name: journalMark, Detail: map[string]string{detailService: itoa(service.UnixMilli())}}
	if err := b.appendJournal(ctx, []JournalLine{mark}); err != nil {
		return err
	}
	b.journal.mu.Lock()
	defer b.journal.mu.Unlock()
	b.journal.marked = now
	return nil
}

func (b *Broker) trimJournal(ctx context.Context) error {
	now := b.now()
	b.journal.mu.Lock()
	due := now.Sub(b.journal.trimmed) >= trimEvery
	b.journal.mu.Unlock()
	if !due {
		return nil
	}
	if err := b.cfg.Journal.Trim(ctx, b.journalHorizon(now)); err != nil {
		return err
	}
	b.journal.mu.Lock()
	defer b.journal.mu.Unlock()
	b.journal.trimmed = now
	return nil
}

// openJournal is part of a server's start: what the database has forgotten is
// done once more, and what the journal lacks is written to it. A journal that
// cannot be read keeps nobody out.
func (b *Broker) openJournal(ctx context.Context) error {
	b.journal.mu.Lock()
	opened := b.journal.opened
	b.journal.mu.Unlock()
	if b.cfg.Journal == nil || !b.cfg.Replay || opened {
		return nil
	}
	lines, damaged, unreadable := b.cfg.Journal.Read(ctx)
	var err error
	if unreadable == nil || errors.Is(unreadable, NotFound) {
		lines, err = b.ownJournal(ctx, lines, damaged, unreadable != nil)
	} else {
		b.cfg.Log.ErrorContext(ctx, "the journal of ends cannot be read: if this database is a restored backup, what ended since then is not known here",
			"event", "journal.unreadable", "error", unreadable)
	}
	if err != nil {
		return err
	}
	report := JournalReport{Lines: len(lines), Damaged: damaged, By: map[string]int{}}
	if err := b.replay(ctx, lines, &report); err != nil {
		return err
	}
	b.journal.mu.Lock()
	b.journal.opened, b.journal.report = true, report
	b.journal.from = b.journalHorizon(b.now())
	last := time.Time{}
	for _, l := range lines {
		b.journal.written[l.ID] = time.UnixMilli(l.At)
		last = later(last, time.UnixMilli(l.At))
	}
	if damaged == 0 && !last.IsZero() {
		b.journal.from = later(b.journal.from, earlier(last, b.now()).Add(-journalMargin))
	}
	b.journal.mu.Unlock()
	if err := b.keepingJournal(ctx); err != nil {
		b.cfg.Log.ErrorContext(ctx, "the journal of ends cannot be written; it is tried again", "event", "journal.failed", "error", err)
	}
	return nil
}

// ownJournal takes the journal if it is of this installation, and begins one where
// there is none.
func (b *Broker) ownJournal(ctx context.Context, lines []JournalLine, damaged int, missing bool) ([]JournalLine, error) {
	if damaged > 0 {
		b.cfg.Log.WarnContext(ctx, "lines of the journal of ends are damaged: what they said is taken from the database, as far as that knows",
			"event", "journal.damaged", "lines", damaged, "good", len(lines))
	}
	header := ""
	for _, l := range lines {
		if l.Name == journalBegins {
			header = l.ID
			break
		}
	}
	mine := header
	if mine == "" {
		mine = b.newID(b.now())
	}
	installation, err := b.cfg.Store.InitFact(ctx, factInstallation, mine)
	if err != nil {
		return nil, err
	}
	if header != "" && header != installation {
		name, err := b.cfg.Journal.SetAside(ctx, b.now())
		if err != nil {
			return nil, Unavailable(err)
		}
		b.cfg.Log.WarnContext(ctx, "the journal of ends is of another database; it was set aside", "event", "journal.foreign", "file", name)
		lines, header = nil, ""
	}
	if header != "" {
		return lines, nil
	}
	return lines, b.beginJournal(ctx, installation, missing)
}

// beginJournal writes the first line of a journal that has none.
func (b *Broker) beginJournal(ctx context.Context, installation string, missing bool) error {
	now := b.now()
	begun, err := b.cfg.Store.InitFact(ctx, factJournal, now.Format(time.RFC3339))
	if err != nil {
		return err
	}
	if missing {
		if missing, err = b.lostJournal(ctx, begun); err != nil {
			return err
		}
	}
	if missing {
		b.cfg.Log.WarnContext(ctx, "the journal of ends is gone: if this database is a restored backup, what ended since then is not known here; a new journal is begun",
			"event", "journal.missing", "kept_since", begun)
	}
	if err := b.cfg.Journal.Append(ctx, []JournalLine{{ID: installation, At: now.UnixMilli(), Name: journalBegins}}); err != nil {
		b.cfg.Log.ErrorContext(ctx, "the journal of ends cannot be written; it is tried again", "event", "journal.failed", "error", err)
	}
	return nil
}

// lostJournal reports whether a journal that is not there is one that was lost: one
// was begun a while ago, and no other replica lives. Beside one that lives this is
// a new replica with a journal of its own, and the database no backup.
func (b *Broker) lostJournal(ctx context.Context, begun string) (bool, error) {
	lives := b.now().Add(-replicaDies)
	if at, err := time.Parse(time.RFC3339, begun); err == nil && !at.Before(lives) {
		return false, nil // with this process, or with another that starts just now
	}
	other, err := b.cfg.Store.ReplicaSeen(ctx, lives)
	return !other, err
}

// CopyEnds copies into the journal what a database that is about to be replaced
// knows beyond it. Nothing is written to the database.
func (b *Broker) CopyEnds(ctx context.Context) error {
	lines, _, err := b.cfg.Journal.Read(ctx)
	if errors.Is(err, NotFound) {
		return nil // the one that is begun says so
	}
	if err != nil {
		return err
	}
	installation, err := b.cfg.Store.Fact(ctx, factInstallation)
	if err != nil || !slices.ContainsFunc(lines, func(l JournalLine) bool { return l.Name == journalBegins && l.ID == installation }) {
		return err // of another database
	}
	b.journal.mu.Lock()
	for _, l := range lines {
		b.journal.written[l.ID] = time.UnixMilli(l.At)
	}
	b.journal.from = b.journalHorizon(b.now())
	b.journal.mu.Unlock()
	return b.copyEnds(ctx)
}

// Restored is to be called once for a database that was a backup until now, when
// it is loaded: it cannot be trusted with the tokens of identity providers.
func (b *Broker) Restored(ctx context.Context) error {
	if err := b.doubtUpstreams(ctx); err != nil {
		return err
	}
	return b.cfg.Store.Tx(ctx, func(store Store) error {
		return b.audit(ctx, store, Event{Name: EventDatabaseRestored, Detail: map[string]string{"replayed": itoa(int64(b.JournalReport().Replayed))}})
	})
}
