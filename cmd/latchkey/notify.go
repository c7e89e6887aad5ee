package main

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/coreos/go-systemd/v22/daemon"
)

// manager is the service manager that started this process and wants to know how
// it fares, by the protocol of sd_notify(3). Without NOTIFY_SOCKET it hears nothing.
type manager struct {
	log   *slog.Logger
	ready atomic.Bool // it was told so
}

func (m *manager) tell(state string) {
	if m == nil {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		m.log.Warn("the service manager cannot be told", "event", "notify.failed", "error", err)
	}
}

func (m *manager) waits(forWhat string) { m.tell("STATUS=Waiting for " + forWhat) }

func (m *manager) isReady() {
	if m == nil {
		return
	}
	m.ready.Store(true)
	m.tell(daemon.SdNotifyReady + "\nSTATUS=Ready")
}

func (m *manager) stops() { m.tell(daemon.SdNotifyStopping + "\nSTATUS=Answering what is under way") }

// reloads says that a reload begins; the answer says that it is over, and how it
// went. Before the first READY=1 there is nothing to say: a second one would end
// the start too early.
func (m *manager) reloads() (over func(error)) {
	if m == nil || !m.ready.Load() {
		return func(error) {}
	}
	m.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	return func(err error) {
		status := "Ready"
		if err != nil {
			status = "Ready; the new configuration was refused, see the log"
		}
		m.tell(daemon.SdNotifyReady + "\nSTATUS=" + status)
	}
}

// watch says at half of the manager's interval that this process takes
// connections and answers them, as long as that is so. It asks nothing of the
// database: a restart would not bring that back.
func (m *manager) watch(ctx context.Context, c *config, listener net.Addr) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		m.log.Warn("the service manager's watchdog gets no answer", "event", "notify.failed", "error", err)
	}
	if interval <= 0 {
		return
	}
	address, err := localAddress(listener.String())
	if err != nil {
		return
	}
	for pause(ctx, interval/2) == nil {
		if err := c.probe(ctx, address, "/healthz"); err == nil {
			m.tell(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			m.log.Warn("this process does not answer itself", "event", "watchdog.failed", "error", err)
		}
	}
}
