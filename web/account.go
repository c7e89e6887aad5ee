package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	devicesPath = "/account"
	// How many rows a page has.
	devicesOnPage     = 12
	pastDevicesOnPage = 20
)

// devicesDone says what was done on the page of devices.
var devicesDone = map[string]*text{
	"ended":  say("The device was logged out."),
	"wiped":  say("The device was logged out, and its app is asked to remove its data the next time that it calls."),
	"others": say("Everything but this browser was logged out."),
	"named":  say("The name was changed."),
}

// devicesPage lists what is logged in, and what ended lately.
func (s *Server) devicesPage(c *gin.Context, p broker.Principal) error {
	page, err := s.devices(c, p)
	if err != nil {
		return err
	}
	page.Notice = whatWasDone(c, devicesDone)
	return s.show(c, http.StatusOK, "account", page)
}

func (s *Server) devices(c *gin.Context, p broker.Principal) (page, error) {
	devices := room(c, p, say("Your devices"))
	at := broker.Page{Limit: devicesOnPage}
	if c.Request.Method == http.MethodGet {
		at.Next = c.Query("next")
	}
	live, over, next, err := s.broker.Devices(c.Request.Context(), p, at)
	if err != nil {
		return devices, err
	}
	names, err := s.clientNames(c, live, over)
	if err != nil {
		return devices, err
	}
	view := &devicesView{
		Rows: s.deviceRows(live, p.Session, at.Next == "", names), Over: s.pastRows(over, names), Pager: pagerOf(c, next),
		Guest: p.User.Role == broker.RoleGuest, Kept: s.broker.Retention(),
	}
	view.Others = len(view.Rows) > 1 || next != "" || at.Next != ""
	devices.View = view
	return devices, nil
}

// pastDevicesPage lists what has ended, and why.
func (s *Server) pastDevicesPage(c *gin.Context, p broker.Principal) error {
	over, next, err := s.broker.PastDevices(c.Request.Context(), p, broker.Page{Next: c.Query("next"), Limit: pastDevicesOnPage})
	if err != nil {
		return err
	}
	names, err := s.clientNames(c, nil, over)
	if err != nil {
		return err
	}
	past := room(c, p, say("Devices that were logged out"))
	past.View = &devicesView{Past: true, Over: s.pastRows(over, names), Pager: pagerOf(c, next), Kept: s.broker.Retention()}
	return s.show(c, http.StatusOK, "account", past)
}

// clientNames reads how the clients of a page's sessions are called.
func (s *Server) clientNames(c *gin.Context, live []broker.Session, over []broker.Past) (map[string]string, error) {
	ids := []string{}
	for _, x := range live {
		ids = append(ids, x.ClientID)
	}
	for _, x := range over {
		ids = append(ids, x.ClientID)
	}
	return s.broker.ClientNames(c.Request.Context(), ids)
}

// nameDeviceForm gives a device a name.
func (s *Server) nameDeviceForm(c *gin.Context, p broker.Principal) error {
	return s.changeDevice(c, p, "name", func(id string, name *string) (string, error) {
		return "named", s.broker.NameDevice(c.Request.Context(), p, id, or(name))
	})
}

// endDeviceForm ends one device; with wipe its app is asked to remove its data.
func (s *Server) endDeviceForm(c *gin.Context, p broker.Principal) error {
	return s.changeDevice(c, p, "wipe", func(id string, wipe *string) (string, error) {
		done := "ended"
		if or(wipe) == "1" {
			done = "wiped"
		}
		return done, s.broker.EndOwnSession(c.Request.Context(), p, id, done == "wiped", device(c))
	})
}

// changeDevice reads a form about one device. No field says whose it is: it is
// always theirs who send it.
func (s *Server) changeDevice(c *gin.Context, p broker.Principal, field string, change func(id string, value *string) (string, error)) error {
	f, err := onlyFields(c, "id", field)
	if err != nil {
		return err
	}
	if f["id"] == nil {
		return badRequest("the field id is missing")
	}
	done, err := change(*f["id"], f[field])
	if err == nil {
		return s.done(c, devicesPath, done)
	}
	if code := broker.CodeOf(err); code != broker.InvalidRequest && code != broker.NotFound {
		return err
	}
	page, trouble := s.devices(c, p)
	if trouble != nil {
		return trouble
	}
	form := &[]input{}
	if row := page.View.(*devicesView).row(*f["id"]); row != nil {
		row.Renaming = field == "name"
		form = &row.Rename
	}
	return s.retry(c, "account", page, form, f, err)
}

// endOthersForm ends everything but this browser.
func (s *Server) endOthersForm(c *gin.Context, p broker.Principal) error {
	if _, err := onlyFields(c); err != nil {
		return err
	}
	if _, err := s.broker.EndOtherSessions(c.Request.Context(), p, device(c)); err != nil {
		return err
	}
	return s.done(c, devicesPath, "others")
}

// endAllForm ends everything, this browser too: the login page says so, by the
// cookie that stands for the session.
func (s *Server) endAllForm(c *gin.Context, p broker.Principal) error {
	if _, err := onlyFields(c); err != nil {
		return err
	}
	if err := s.broker.EndAllSessions(c.Request.Context(), p, device(c)); err != nil {
		return err
	}
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/login?ended="+string(broker.RevokedByUser))
	return nil
}
