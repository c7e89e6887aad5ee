package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// devices are what the page of devices shows: of everybody one of each kind, and
// one that ended by each cause. The user single has none.
func devices(t *testing.T, rig *harness.Rig, n names) {
	t.Helper()
	ctx, now := t.Context(), rig.Clock.Now()
	if _, err := rig.Broker.CreateUser(ctx, broker.NewUser{Username: "single", Name: n.person, Password: harness.PasswordOf(n.user)}); err != nil {
		t.Fatal(err)
	}
	u, err := rig.Broker.FindUser(ctx, n.user)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	id := func(at time.Time) string { // in the order of time, as ours are
		made++
		return fmt.Sprintf("%08x-0000-7000-8000-%012d", at.Unix(), made)
	}
	add := func(ago time.Duration, s broker.Session) broker.Session {
		t.Helper()
		s.ID, s.UserID, s.CreatedAt, s.AuthTime, s.LastSeenAt = id(now.Add(-40*ago)), u.ID, now.Add(-40*ago), now.Add(-40*ago), now.Add(-ago)
		s.AdvancedAt, s.IssuedAt, s.IdleExpiresAt, s.AbsExpiresAt = s.LastSeenAt, s.LastSeenAt, now.Add(30*24*time.Hour-ago), now.Add(400*24*time.Hour-40*ago)
		if s.ClientID == "" {
			s.ClientID = broker.AppClientID
		}
		if s.AMR == nil {
			s.AMR = []string{"pwd"}
		}
		if s.LastIP == "" {
			s.LastIP = "192.0.2.17"
		}
		s.CreatedIP = s.LastIP
		if _, err := rig.Store.InsertSession(ctx, s, ""); err != nil {
			t.Fatal(err)
		}
		return s
	}
	tablet := add(2*time.Hour, broker.Session{UserAgent: "Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1", ProviderID: "first", AMR: []string{"hwk"}})
	add(90*time.Minute, broker.Session{UserAgent: "Go-http-client/1.1", ClientID: "shelf", ParentID: tablet.ID, FollowsParent: true, ProviderID: "first"})
	add(12*time.Minute, broker.Session{UserAgent: "okhttp/4.12.0", ClientID: "shelf", DeviceName: "Annas Telefon", LastIP: "2001:db8:85a3:8d3:1319:8a2e:370:7348"})
	add(26*time.Hour, broker.Session{UserAgent: "ShelfPlayer/3.0 CFNetwork/1568.100.1 Darwin/24.0.0", DeviceName: "Donaudampfschifffahrtsgesellschaftskapitänskajütentelefon-Nr. 60"})
	add(3*24*time.Hour, broker.Session{UserAgent: "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0 Safari/537.36", ClientID: "tv", AMR: []string{"pwd", "otp"}})
	add(5*24*time.Hour, broker.Session{UserAgent: "curl/8.5.0", LastIP: "198.51.100.7"})
	for i, cause := range broker.EndCauses {
		s := add(time.Duration(i+1)*3*time.Hour, broker.Session{UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", ProviderID: []string{"", "first", "second"}[i%3]})
		end := broker.End{Cause: cause, At: now.Add(-time.Duration(i) * 7 * time.Hour), KeepUntil: now.Add(90 * 24 * time.Hour)}
		if cause == broker.TokenReused {
			end.At = now.Add(-5 * time.Minute)
			reuse := broker.Event{ID: id(now), At: end.At, Name: "refresh.reuse", UserID: u.ID, SessionID: s.ID, IP: "198.51.100.66", Detail: map[string]string{
				"user_agent": "python-requests/2.32", "other_ip": s.LastIP, "other_user_agent": s.UserAgent, "other_at": s.LastSeenAt.Format(time.RFC3339),
			}}
			if err := rig.Store.InsertEvent(ctx, reuse); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := rig.Store.EndSessions(ctx, broker.SessionFilter{ID: s.ID}, end); err != nil {
			t.Fatal(err)
		}
	}
}
