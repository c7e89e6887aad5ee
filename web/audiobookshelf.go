package web

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file translates to the JSON contract of the Audiobookshelf apps: the
// same fields and texts, whatever we would call them. Latchkey has no
// libraries and no media, so those fields are empty.

// ContractVersion is the version of the JSON contract that is spoken. Apps take
// the path with access and refresh tokens from 2.26.0 on.
const ContractVersion = "2.36.0"

const (
	headerRefreshToken = "X-Refresh-Token"
	headerReturnTokens = "X-Return-Tokens"
)

type userJSON struct {
	ID                              string             `json:"id"`
	Username                        string             `json:"username"`
	Email                           *string            `json:"email"`
	Type                            string             `json:"type"`
	Token                           string             `json:"token"`
	IsOldToken                      bool               `json:"isOldToken,omitempty"`
	AccessToken                     string             `json:"accessToken,omitempty"`
	RefreshToken                    *string            `json:"refreshToken,omitempty"`
	MediaProgress                   []string           `json:"mediaProgress"`
	SeriesHideFromContinueListening []string           `json:"seriesHideFromContinueListening"`
	Bookmarks                       []string           `json:"bookmarks"`
	IsActive                        bool               `json:"isActive"`
	IsLocked                        bool               `json:"isLocked"`
	LastSeen                        *int64             `json:"lastSeen"`
	CreatedAt                       int64              `json:"createdAt"`
	Permissions                     broker.Permissions `json:"permissions"`
	LibrariesAccessible             []string           `json:"librariesAccessible"`
	ItemTagsSelected                []string           `json:"itemTagsSelected"`
	HasOpenIDLink                   bool               `json:"hasOpenIDLink"`
}

var none = []string{}

// orNone keeps an empty list from becoming null.
func orNone(list []string) []string {
	if list == nil {
		return none
	}
	return list
}

// toUserJSON is a user as the apps know one. token is the legacy token, which
// Latchkey does not issue; an empty string is what the apps accept.
func toUserJSON(u broker.User) userJSON {
	may := u.EffectivePermissions()
	j := userJSON{
		ID: u.ID, Username: u.Username, Type: string(u.Role), IsActive: u.DisabledAt.IsZero(), CreatedAt: u.CreatedAt.UnixMilli(),
		HasOpenIDLink: u.HasIdentity, MediaProgress: none, SeriesHideFromContinueListening: none, Bookmarks: none,
		LibrariesAccessible: orNone(may.Libraries), ItemTagsSelected: orNone(may.Tags),
	}
	may.Libraries, may.Tags = nil, nil // the contract has them beside the flags
	j.Permissions = may
	if u.Email != "" {
		j.Email = &u.Email
	}
	if !u.LastSeenAt.IsZero() {
		ms := u.LastSeenAt.UnixMilli()
		j.LastSeen = &ms
	}
	return j
}

type loginJSON struct {
	User                 userJSON     `json:"user"`
	UserDefaultLibraryID *string      `json:"userDefaultLibraryId"`
	ServerSettings       settingsJSON `json:"serverSettings"`
	EreaderDevices       []string     `json:"ereaderDevices"`
	Source               string       `json:"Source"`

	// Latchkey's own additions.
	SessionID        string `json:"session_id,omitempty"`
	ExpiresIn        int64  `json:"expires_in,omitempty"`
	RefreshExpiresIn int64  `json:"refresh_expires_in,omitempty"`

	Notice *noticeJSON `json:"notice,omitempty"`
}

type settingsJSON struct {
	ID                    string   `json:"id"`
	Version               string   `json:"version"`
	Language              string   `json:"language"`
	TimeZone              string   `json:"timeZone"`
	LogLevel              int      `json:"logLevel"`
	AuthActiveAuthMethods []string `json:"authActiveAuthMethods"`
	AuthOpenIDAutoLaunch  bool     `json:"authOpenIDAutoLaunch"`
	AuthOpenIDButtonText  string   `json:"authOpenIDButtonText"`
}

const language = "en-us"

func (s *Server) profile(u broker.User) loginJSON {
	return loginJSON{
		User: toUserJSON(u), EreaderDevices: none, Source: "latchkey", Notice: s.notice(u),
		ServerSettings: settingsJSON{
			ID: "server-settings", Version: ContractVersion, Language: language, TimeZone: "UTC", LogLevel: 1,
			AuthActiveAuthMethods: s.authMethods(), AuthOpenIDButtonText: s.buttonText(), AuthOpenIDAutoLaunch: s.launches(),
		},
	}
}

// payload is the answer to every login and refresh. In cookie mode the refresh
// token is a JSON null, and never in the body.
func (s *Server) payload(l *broker.Login, withRefreshToken bool) any {
	p := s.profile(l.User)
	p.User.AccessToken = l.AccessToken.Reveal()
	p.SessionID = l.Session.ID
	p.ExpiresIn, p.RefreshExpiresIn = int64(l.ExpiresIn/time.Second), int64(l.RefreshExpiresIn/time.Second)
	if withRefreshToken {
		token := l.RefreshToken.Reveal()
		p.User.RefreshToken = &token
		return p
	}
	return withNull{p, nullTokenUser{p.User, nil}}
}

// withNull shows refreshToken as null where userJSON alone would leave it out.
type withNull struct {
	loginJSON
	User nullTokenUser `json:"user"`
}

type nullTokenUser struct {
	userJSON
	RefreshToken *string `json:"refreshToken"`
}

// status tells apps, before any login, what this server is and how to log in.
func (s *Server) status(c *gin.Context) error {
	setup, err := s.broker.NeedsSetup(c.Request.Context())
	if err != nil {
		return err
	}
	form := gin.H{"authLoginCustomMessage": nil}
	if len(s.broker.Providers()) > 0 {
		form["authOpenIDButtonText"] = s.buttonText()
		form["authOpenIDAutoLaunch"] = s.launches()
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, gin.H{
		"app": "audiobookshelf", "serverVersion": ContractVersion, "latchkeyVersion": s.cfg.Version, "isInit": !setup,
		"language": language, "authMethods": s.authMethods(), "authFormData": form,
	})
	return nil
}

func (s *Server) authMethods() []string {
	methods := []string{}
	if s.cfg.LocalLogin {
		methods = append(methods, "local")
	}
	if len(s.broker.Providers()) > 0 {
		methods = append(methods, "openid")
	}
	return methods
}

func (s *Server) buttonText() string {
	for _, p := range s.broker.Providers() {
		return "Log in with " + p.Name
	}
	return ""
}

func (s *Server) ping(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"success": true}) }

func (s *Server) healthcheck(c *gin.Context) { c.String(http.StatusOK, "OK") }

type sessionJSON struct {
	ID         string  `json:"id"`
	IPAddress  string  `json:"ipAddress"`
	UserAgent  string  `json:"userAgent"`
	DeviceInfo *string `json:"deviceInfo"`
	CreatedAt  int64   `json:"createdAt"`
	UpdatedAt  int64   `json:"updatedAt"`
	Current    bool    `json:"current"`

	// Latchkey's own additions.
	ExpiresAt int64  `json:"expiresAt"`
	Provider  string `json:"provider,omitempty"`
	ClientID  string `json:"client_id"`
	// DeviceName is what the app or the person calls the device; absent: nothing.
	DeviceName string        `json:"deviceName,omitempty"`
	Upstream   *upstreamJSON `json:"upstream,omitempty"`
}

// upstreamJSON is what is known of the login at the IdP that a session stands
// on, where that is checked again. Times are Unix milliseconds.
type upstreamJSON struct {
	State       broker.UpstreamState `json:"state"`
	AliveAt     int64                `json:"aliveAt"`
	NextCheckAt int64                `json:"nextCheckAt,omitempty"` // none where it cannot be checked any more
}

func toUpstreamJSON(u *broker.Upstream, now time.Time) *upstreamJSON {
	if u == nil {
		return nil
	}
	out := &upstreamJSON{State: u.StateAt(now), AliveAt: u.AliveAt.UnixMilli()}
	if u.Sealed != "" {
		out.NextCheckAt = u.NextCheckAt.UnixMilli()
	}
	return out
}

func toSessionJSON(x broker.Session, current string, now time.Time) sessionJSON {
	return sessionJSON{
		ID: x.ID, IPAddress: x.LastIP, UserAgent: x.UserAgent, CreatedAt: x.CreatedAt.UnixMilli(), UpdatedAt: x.LastSeenAt.UnixMilli(),
		Current: x.ID == current, ExpiresAt: x.IdleExpiresAt.UnixMilli(), Provider: x.ProviderID, ClientID: x.ClientID,
		DeviceName: x.DeviceName, Upstream: toUpstreamJSON(x.Upstream, now),
	}
}
