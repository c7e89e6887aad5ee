package web

import (
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// devicesView is a page of devices: those that are logged in, with what ended
// lately, or (Past) those that are not.
type devicesView struct {
	Rows   []deviceRow
	Over   []pastRow
	Pager  pager
	Past   bool
	Others bool // there is more than this browser
	Guest  bool
	Kept   time.Duration // so long what ended is kept
}

// row finds a device of the page.
func (v *devicesView) row(id string) *deviceRow {
	for i := range v.Rows {
		if v.Rows[i].ID == id {
			return &v.Rows[i]
		}
		for k := range v.Rows[i].Sites {
			if v.Rows[i].Sites[k].ID == id {
				return &v.Rows[i].Sites[k]
			}
		}
	}
	return nil
}

// deviceRow is a live session as its owner reads it.
type deviceRow struct {
	deviceLook
	ID        string
	Address   string
	Method    *text
	Used      moment
	Ends      moment
	This      bool
	Follows   bool // it ends with a browser that is not on this page
	Sites     []deviceRow
	Rename    []input
	Renaming  bool
	MayRemove bool // its app may have data to remove
}

// pastRow is a session that is over. Held: two held it, and one of them may be
// nobody whom its owner knows.
type pastRow struct {
	deviceLook
	Address string
	Over    moment
	Why     *text
	Held    bool
}

// deviceRows puts this browser first, and beneath a browser what ends with it.
func (s *Server) deviceRows(live []broker.Session, this broker.Session, first bool, names map[string]string) []deviceRow {
	live = slices.DeleteFunc(slices.Clone(live), func(x broker.Session) bool { return x.ID == this.ID })
	if first {
		live = append([]broker.Session{this}, live...)
	}
	rows, at := []deviceRow{}, map[string]int{}
	for _, x := range live {
		if !x.FollowsParent {
			at[x.ID] = len(rows)
			rows = append(rows, s.deviceRow(x, this, names))
		}
	}
	for _, x := range live {
		if !x.FollowsParent {
			continue
		}
		row := s.deviceRow(x, this, names)
		if i, ok := at[x.ParentID]; ok {
			rows[i].Sites = append(rows[i].Sites, row)
			continue
		}
		row.Follows = true
		rows = append(rows, row)
	}
	return rows
}

func (s *Server) deviceRow(x, this broker.Session, names map[string]string) deviceRow {
	row := deviceRow{
		deviceLook: lookOf(x, nameOfClient(x, names)), ID: x.ID, Address: x.LastIP, Method: s.loginMethod(x),
		This: x.ID == this.ID, MayRemove: !x.FollowsParent,
	}
	row.MayRemove = row.MayRemove && !row.Browser
	now := s.broker.Now()
	row.Used = s.moment(x.LastSeenAt)
	row.Used.relative = say("Last used {when}", row.Used.relative)
	row.Ends = moment{at: x.IdleExpiresAt, relative: say("ends in {time} if it is not used", ahead(x.IdleExpiresAt.Sub(now)))}
	if !x.AbsExpiresAt.After(x.IdleExpiresAt) {
		row.Ends = moment{at: x.AbsExpiresAt, relative: say("ends in {time}", ahead(x.AbsExpiresAt.Sub(now)))}
	}
	row.Rename = []input{{
		Name: "name", ID: "name-" + x.ID, Label: say("Name of this device"), Value: x.DeviceName, Max: broker.MaxDeviceName,
		Help: say("Leave it empty, and it is called by what it says of itself."), Autocomplete: "off",
	}}
	return row
}

// nameOfClient is how the client of a session is called; empty for the JSON
// API's own, whose sessions are known by their device.
func nameOfClient(x broker.Session, names map[string]string) string {
	if x.ClientID == broker.AppClientID {
		return ""
	}
	if name := names[x.ClientID]; name != "" {
		return name
	}
	return x.ClientID // it is not registered any more
}

func (s *Server) pastRows(over []broker.Past, names map[string]string) []pastRow {
	rows := []pastRow{}
	for _, x := range over {
		row := pastRow{deviceLook: lookOf(x.Session, nameOfClient(x.Session, names)), Address: x.LastIP, Over: s.moment(x.Over), Why: s.why(x.Cause, x.Session)}
		if x.Over.IsZero() || row.Why == nil {
			row.Why = say("This login is over.")
		}
		if row.Held = x.Cause == broker.TokenReused; x.Reuse != nil {
			row.Why = heldByTwo(*x.Reuse)
		}
		rows = append(rows, row)
	}
	return rows
}

// heldByTwo says who used a login that only one device should have.
func heldByTwo(e broker.Event) *text {
	use := func(userAgent, address string, at time.Time) *text {
		what := agentText(readAgent(userAgent))
		if what == nil {
			what = say("A program that does not say its name")
		}
		return say("{device}, from {address}, on {when}", what, address, at)
	}
	at, err := time.Parse(time.RFC3339, e.Detail["other_at"])
	if err != nil {
		at = e.At
	}
	return say("Two devices used the same login, so it was ended for safety: {one}; and {other}.",
		use(e.Detail["other_user_agent"], e.Detail["other_ip"], at), use(e.Detail["user_agent"], e.IP, e.At))
}

// factors are how people prove that they are there, beyond a password (RFC 8176).
var factors = []struct {
	amr  []string
	text *text
}{
	{[]string{"hwk", "swk", "pop"}, say("a passkey or a security key")},
	{[]string{"otp", "sms", "tel"}, say("a one-time code")},
	{[]string{"face", "fpt", "iris", "retina", "vbm"}, say("a fingerprint or the face")},
	{[]string{"mfa", "mca"}, say("a second factor")},
}

// loginMethod says how a session was logged in.
func (s *Server) loginMethod(x broker.Session) *text {
	method := say("with a password")
	switch {
	case x.ProviderID != "":
		method = say("through {provider}", s.providerOr(x.ProviderID))
	case slices.Contains(x.AMR, "hwk") || slices.Contains(x.AMR, "swk"):
		if !slices.Contains(x.AMR, "pwd") {
			return say("with a passkey")
		}
	case !slices.Contains(x.AMR, "pwd"):
		method = say("before this account was moved here")
	}
	for _, f := range factors {
		if slices.ContainsFunc(x.AMR, func(one string) bool { return slices.Contains(f.amr, one) }) {
			return say("{method} and {factor}", method, f.text)
		}
	}
	return method
}
