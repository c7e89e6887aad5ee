package broker

import "context"

// eventStore tells of the audit events that were written, once they are: those of a
// transaction after its commit, and none of one that failed or was tried again.
type eventStore struct {
	Store
	written func(context.Context, []Event)
}

// Tx implements Store.
func (s eventStore) Tx(ctx context.Context, f func(Store) error) error {
	var events []Event
	err := s.Store.Tx(ctx, func(tx Store) error {
		events = nil // it may run again
		return f(eventTx{tx, &events})
	})
	if err == nil && len(events) > 0 {
		s.written(ctx, events)
	}
	return err
}

// InsertEvent implements AuditStore, outside a transaction.
func (s eventStore) InsertEvent(ctx context.Context, e Event) error {
	err := s.Store.InsertEvent(ctx, e)
	if err == nil {
		s.written(ctx, []Event{e})
	}
	return err
}

// InsertEvents implements ImportStore, outside a transaction.
func (s eventStore) InsertEvents(ctx context.Context, list []Event) error {
	err := s.Store.InsertEvents(ctx, list)
	if err == nil && len(list) > 0 {
		s.written(ctx, list)
	}
	return err
}

// eventTx is a transaction whose events are noted.
type eventTx struct {
	Store
	events *[]Event
}

// Tx implements Store: it is inside already.
func (t eventTx) Tx(_ context.Context, f func(Store) error) error { return f(t) }

// InsertEvent implements AuditStore.
func (t eventTx) InsertEvent(ctx context.Context, e Event) error {
	err := t.Store.InsertEvent(ctx, e)
	if err == nil {
		*t.events = append(*t.events, e)
	}
	return err
}

// InsertEvents implements ImportStore.
func (t eventTx) InsertEvents(ctx context.Context, list []Event) error {
	err := t.Store.InsertEvents(ctx, list)
	if err == nil {
		*t.events = append(*t.events, list...)
	}
	return err
}

// eventsWritten counts events that were written, and keeps those in the journal that
// say what has ended. Between their commit and the line a crash may come: the database
// knows the event then, and [Broker.KeepJournal] copies it. The other way round, a line
// of what was never committed would end sessions that live.
func (b *Broker) eventsWritten(ctx context.Context, events []Event) {
	var lines []JournalLine
	for _, e := range events {
		b.meter.happened(e)
		if line, ok := journalLine(e); ok {
			lines = append(lines, line)
		}
	}
	if b.cfg.Journal != nil && len(lines) > 0 {
		b.writeJournal(ctx, lines)
	}
}
