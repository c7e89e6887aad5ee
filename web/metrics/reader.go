package metrics

import (
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey-id/latchkey/broker"
)

// scrapeTime bounds what one scrape asks of the database.
const scrapeTime = 2 * time.Second

// reader reads what others count.
type reader struct {
	Sources
	all []*prometheus.Desc

	build, ready, live, liveAt, expires           *prometheus.Desc
	key, keyOverdue                               *prometheus.Desc
	outbox, outboxAge                             *prometheus.Desc
	tallies                                       map[string]*tallyDesc
	idpUp, lost                                   *prometheus.Desc
	poolMax, poolOpen, poolWaits, poolWaitSeconds *prometheus.Desc
	logBytes                                      *prometheus.Desc
	hashRunning, hashParallel                     *prometheus.Desc
	hashWaiting, hashRoom                         *prometheus.Desc
	hashDone, hashBusy, hashSeconds               *prometheus.Desc
}

type tallyDesc struct {
	*prometheus.Desc
	labels int
}

func newReader(s Sources) *reader {
	r := &reader{Sources: s}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("latchkey_"+name, help, labels, nil)
		r.all = append(r.all, d)
		return d
	}
	r.build = desc("build_info", "Which program this is; always 1.", "version", "goversion")
	r.ready = desc("ready", "1 where requests are served, 0 where they are answered with 503.")
	r.live = desc("sessions_live", "Live sessions of all replicas, when they were last counted.")
	r.liveAt = desc("sessions_live_counted_timestamp_seconds", "When live sessions were last counted.")
	r.key = desc("signing_key_active_timestamp_seconds", "Since when the key signs that access tokens are signed with.", "algorithm")
	r.keyOverdue = desc("signing_key_change_overdue_seconds", "For how long a change of signing keys is overdue; 0 where all is in time.")
	r.expires = desc("tls_certificate_expiry_timestamp_seconds", "When the certificate that the server shows expires; nothing where it speaks plain HTTP.")
	r.idpUp = desc("idp_up", "1 where the identity provider answered lately, 0 where it does not answer; nothing where nobody asked it lately.", "provider")
	r.lost = desc("log_lines_lost_total", "Lines of the log that nothing took in time.")
	tally := func(name, help string, labels ...string) *tallyDesc {
		return &tallyDesc{desc(name, help, labels...), len(labels)}
	}
	r.tallies = map[string]*tallyDesc{
		broker.TallyLogins:   tally("logins_total", "Logins by method (password, token_exchange, or the id of a provider) and result (ok, or the code of the refusal).", "method", "result"),
		broker.TallyRefresh:  tally("refreshes_total", "Refreshes by result (ok, refused) and reason (the outcome of the refresh rule, or the code of the refusal).", "result", "reason"),
		broker.TallyStarted:  tally("sessions_started_total", "Sessions that began, by method.", "method"),
		broker.TallyEnded:    tally("sessions_ended_total", "Sessions that ended, by cause.", "cause"),
		broker.TallyEvents:   tally("audit_events_total", "Events written to the audit log, by name.", "event"),
		broker.TallyLimits:   tally("limiter_decisions_total", "What the limiter said (ok, refused), and what failed and was counted, by what it counts by.", "key", "decision"),
		broker.TallyMails:    tally("mails_total", "Tries to send a mail by result (sent; postponed: it is tried again; undelivered: given up).", "result"),
		broker.TallyIdPCalls: tally("idp_requests_total", "Calls of identity providers by provider and result (ok, failed: it did not answer).", "provider", "result"),
	}
	r.outbox = desc("mails_waiting", "Mails of all replicas that are not sent yet.")
	r.outboxAge = desc("mails_waiting_oldest_seconds", "For how long the oldest mail waits that is not sent yet; 0 where there is none.")
	r.poolMax = desc("db_connections_max", "How many connections a pool opens at most.", "pool")
	r.poolOpen = desc("db_connections", "Open connections by pool and state (in_use, idle).", "pool", "state")
	r.poolWaits = desc("db_connection_waits_total", "How often a statement had to wait for a connection, or for its turn to write on SQLite.", "pool")
	r.poolWaitSeconds = desc("db_connection_wait_seconds_total", "How long statements waited for a connection, altogether.", "pool")
	r.logBytes = desc("db_sqlite_log_bytes", "How long SQLite's write-ahead log is (the file -wal).")
	r.hashRunning = desc("password_hashes_running", "Passwords that are being hashed now.")
	r.hashParallel = desc("password_hashes_parallel", "How many passwords are hashed at once at most.")
	r.hashWaiting = desc("password_hashes_waiting", "Passwords that wait for their turn.")
	r.hashRoom = desc("password_hashes_waiting_max", "How many passwords may wait; more are told to come again.")
	r.hashDone = desc("password_hashes_total", "Passwords that were hashed or compared.")
	r.hashBusy = desc("password_hashes_rejected_total", "Passwords that were turned away because too many waited.")
	r.hashSeconds = desc("password_hash_seconds_total", "How long hashing took, altogether, without waiting.")
	return r
}

// Describe implements prometheus.Collector.
func (r *reader) Describe(to chan<- *prometheus.Desc) {
	for _, d := range r.all {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (r *reader) Collect(to chan<- prometheus.Metric) {
	say := func(kind prometheus.ValueType, d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	say(prometheus.GaugeValue, r.build, 1, r.Version, runtime.Version())
	if at := r.Expires(); !at.IsZero() {
		say(prometheus.GaugeValue, r.expires, float64(at.Unix()))
	}
	if r.LostLines != nil {
		say(prometheus.CounterValue, r.lost, float64(r.LostLines()))
	}
	r.collectPools(say)
	r.collectHashing(say)
	b := r.Broker()
	if b == nil {
		say(prometheus.GaugeValue, r.ready, 0)
		return
	}
	r.collectBroker(b, say)
}

var mailResults = []string{broker.MailSent, broker.MailPostponed, broker.MailUndelivered}

type sayer func(kind prometheus.ValueType, d *prometheus.Desc, v float64, labels ...string)

func (r *reader) collectBroker(b Broker, say sayer) {
	tallies := b.Tallies()
	for _, result := range mailResults { // also of what has not happened yet: an alert asks how many more there are
		if !slices.ContainsFunc(tallies, func(t broker.Tally) bool { return t.Name == broker.TallyMails && t.Labels[0] == result }) {
			say(prometheus.CounterValue, r.tallies[broker.TallyMails].Desc, 0, result)
		}
	}
	for _, t := range tallies {
		if d := r.tallies[t.Name]; d != nil {
			say(prometheus.CounterValue, d.Desc, float64(t.N), t.Labels[:d.labels]...)
		}
	}
	if key := b.Signer(); key != nil && !key.ActiveAt.IsZero() {
		say(prometheus.GaugeValue, r.key, float64(key.ActiveAt.Unix()), key.Algorithm)
	}
	say(prometheus.GaugeValue, r.keyOverdue, b.KeyChangeOverdue().Seconds())
	for _, p := range b.Providers() {
		switch h := b.ProviderHealth(p.ID); h.State {
		case broker.HealthOK, broker.HealthSlow:
			say(prometheus.GaugeValue, r.idpUp, 1, p.ID)
		case broker.HealthDark:
			say(prometheus.GaugeValue, r.idpUp, 0, p.ID)
		}
	}
	if b.Ready() != nil {
		say(prometheus.GaugeValue, r.ready, 0)
		return
	}
	say(prometheus.GaugeValue, r.ready, 1)
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	if n, at, err := b.LiveSessions(ctx); err == nil && !at.IsZero() {
		say(prometheus.GaugeValue, r.live, float64(n))
		say(prometheus.GaugeValue, r.liveAt, float64(at.Unix()))
	}
	if n, oldest, err := b.Outbox(ctx); err == nil {
		say(prometheus.GaugeValue, r.outbox, float64(n))
		say(prometheus.GaugeValue, r.outboxAge, oldest.Seconds())
	}
}

func (r *reader) collectPools(say sayer) {
	for _, p := range r.Pools() {
		say(prometheus.GaugeValue, r.poolMax, float64(p.Max), p.Name)
		say(prometheus.GaugeValue, r.poolOpen, float64(p.InUse), p.Name, "in_use")
		say(prometheus.GaugeValue, r.poolOpen, float64(p.Idle), p.Name, "idle")
		say(prometheus.CounterValue, r.poolWaits, float64(p.Waits), p.Name)
		say(prometheus.CounterValue, r.poolWaitSeconds, p.Waited.Seconds(), p.Name)
	}
	if r.LogBytes == nil {
		return
	}
	if n, there := r.LogBytes(); there {
		say(prometheus.GaugeValue, r.logBytes, float64(n))
	}
}

func (r *reader) collectHashing(say sayer) {
	h := r.Hashing()
	if h == nil {
		return
	}
	say(prometheus.GaugeValue, r.hashRunning, float64(h.Running))
	say(prometheus.GaugeValue, r.hashParallel, float64(h.Parallel))
	say(prometheus.GaugeValue, r.hashWaiting, float64(h.Waiting))
	say(prometheus.GaugeValue, r.hashRoom, float64(h.Room))
	say(prometheus.CounterValue, r.hashDone, float64(h.Done))
	say(prometheus.CounterValue, r.hashBusy, float64(h.Busy))
	say(prometheus.CounterValue, r.hashSeconds, h.Took.Seconds())
}
