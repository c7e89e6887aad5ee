package web

import (
	"cmp"
	"net/url"
	"regexp"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/mileusna/useragent"

	"github.com/latchkey-id/latchkey/broker"
)

// This file says what a device is called, for the people who own it.

// The kinds of devices, each with a picture.
const (
	kindPhone   = "phone"
	kindTablet  = "tablet"
	kindDesktop = "desktop"
	kindTV      = "tv"
	kindProgram = "program"
)

// agent is what a User-Agent says: the program, and what it runs on; empty
// where it says nothing.
type agent struct {
	program, system, kind string
	browser               bool
}

// product is the first word of a User-Agent (RFC 9110 section 10.1.5).
var product = regexp.MustCompile(`^([\pL][\pL\pN ._+-]{0,39}?)/[0-9v]`)

// knownAgents are programs that name themselves in another way than people do,
// or say less than is known of them. Those without a name are libraries, in
// which apps of any name are written.
var knownAgents = map[string]agent{
	"okhttp":                 {system: "Android", kind: kindPhone},
	"dalvik":                 {system: "Android", kind: kindPhone},
	"dart":                   {kind: kindPhone},
	"cfnetwork":              {system: "iOS", kind: kindPhone},
	"alamofire":              {system: "iOS", kind: kindPhone},
	"axios":                  {kind: kindProgram},
	"node":                   {kind: kindProgram},
	"undici":                 {kind: kindProgram},
	"go-http-client":         {kind: kindProgram},
	"java":                   {kind: kindProgram},
	"apache-httpclient":      {kind: kindProgram},
	"python-requests":        {program: "Python", kind: kindProgram},
	"python-urllib":          {program: "Python", kind: kindProgram},
	"aiohttp":                {program: "Python", kind: kindProgram},
	"curl":                   {program: "curl", kind: kindProgram},
	"wget":                   {program: "Wget", kind: kindProgram},
	"httpie":                 {program: "HTTPie", kind: kindProgram},
	"postmanruntime":         {program: "Postman", kind: kindProgram},
	"latchkey":               {program: "Latchkey", kind: kindDesktop},
	"audiobookshelf":         {program: "Audiobookshelf", kind: kindPhone},
	"audiobookshelf-app":     {program: "Audiobookshelf", kind: kindPhone},
	"audiobooth":             {program: "AudioBooth", system: "iOS", kind: kindPhone},
	"bookplayer":             {program: "BookPlayer", system: "iOS", kind: kindPhone},
	"lissen":                 {program: "Lissen", system: "Android", kind: kindPhone},
	"plappa":                 {program: "plappa", system: "iOS", kind: kindPhone},
	"prologue":               {program: "Prologue", system: "iOS", kind: kindPhone},
	"shelfplayer":            {program: "ShelfPlayer", system: "iOS", kind: kindPhone},
	"soundleaf":              {program: "SoundLeaf", system: "iOS", kind: kindPhone},
	"still":                  {program: "Still", system: "iOS", kind: kindPhone},
	"symfonium":              {program: "Symfonium", system: "Android", kind: kindPhone},
	"yaabsa":                 {program: "yaabsa", kind: kindPhone},
	"koreader":               {program: "KOReader", kind: kindTablet},
	"kodi":                   {program: "Kodi", kind: kindTV},
	"homeassistant":          {program: "Home Assistant", kind: kindProgram},
	"music assistant":        {program: "Music Assistant", kind: kindProgram},
	"musicassistant":         {program: "Music Assistant", kind: kindProgram},
	"jellyfin":               {program: "Jellyfin", kind: kindProgram},
	"com.audiobookshelf.app": {program: "Audiobookshelf", kind: kindPhone},
}

// readAgent reads a User-Agent, which anybody may write as they like.
func readAgent(userAgent string) agent {
	said := useragent.Parse(userAgent)
	a := agent{system: said.OS, kind: kindOf(said)}
	if said.OS == useragent.IOS && said.Device != "" {
		a.system = said.Device
	}
	if strings.HasPrefix(userAgent, "Mozilla/") {
		switch {
		case inApp(said):
		case said.Name != "" && len(said.Name) <= 40:
			a.program, a.browser = said.Name, true
		}
		if a.kind == kindTV {
			a.system = "TV"
		}
		return a
	}
	name := ""
	if decoded, err := url.PathUnescape(userAgent); err == nil { // Apple's library escapes an app's name
		userAgent = decoded
	}
	if found := product.FindStringSubmatch(userAgent); found != nil {
		name = found[1]
	}
	known, ok := knownAgents[strings.ToLower(name)]
	if a.program = name; ok {
		a.program = known.program
	}
	if a.system == "" {
		a.system = known.system
	}
	if a.system == "" && strings.Contains(userAgent, "CFNetwork/") {
		a.system = "iOS"
	}
	if a.kind == kindProgram {
		if known.kind != "" {
			a.kind = known.kind
		} else if a.system == "iOS" {
			a.kind = kindPhone
		}
	}
	return a
}

// inApp reports whether a browser's engine speaks for an app that shows a page.
func inApp(said useragent.UserAgent) bool {
	switch said.OS {
	case useragent.Android:
		return strings.Contains(said.String, "; wv)")
	case useragent.IOS:
		return !strings.Contains(said.String, "Safari/")
	}
	return false
}

func kindOf(said useragent.UserAgent) string {
	for _, mark := range []string{"TV", "Web0S", "webOS.TV", "CrKey", "BRAVIA", "; AFT"} {
		if strings.Contains(said.String, mark) {
			return kindTV
		}
	}
	switch {
	case said.Tablet, said.OS == useragent.Android && strings.HasPrefix(said.String, "Mozilla/") && !strings.Contains(said.String, "Mobile"):
		return kindTablet
	case said.Mobile:
		return kindPhone
	case said.Desktop:
		return kindDesktop
	}
	return kindProgram
}

// deviceLook is how a session looks to its owner. Program is what its name does
// not say; nil: nothing.
type deviceLook struct {
	Name    *text
	Program *text
	Kind    string
	Browser bool
}

// lookOf says how a session looks: by what its app or its owner calls the device,
// else by the User-Agent. client is the name of its client, empty for the JSON
// API's own.
func lookOf(x broker.Session, client string) deviceLook {
	a := readAgent(x.UserAgent)
	look := deviceLook{Kind: a.kind, Browser: a.browser && client == ""}
	if x.FollowsParent { // a site: it is its server that calls
		look.Kind = kindProgram
		a = agent{}
	}
	if client != "" {
		a.program, a.browser = client, false
	}
	switch {
	case x.DeviceName != "" && a.program != "" && !a.browser:
		look.Name = say("{program} on {device}", a.program, x.DeviceName)
	case x.DeviceName != "":
		look.Name, look.Program = say("{name}", x.DeviceName), agentText(a)
	default:
		look.Name = agentText(a)
	}
	if look.Name == nil {
		look.Name = say("A program that does not say its name")
	}
	return look
}

// agentText is what a User-Agent says, for people; nil: nothing.
func agentText(a agent) *text {
	switch {
	case a.program != "" && a.system != "":
		return say("{program} on {device}", a.program, a.system)
	case a.program != "":
		return say("{name}", a.program)
	case a.system != "":
		return say("An app on {device}", a.system)
	}
	return nil
}

// headerDeviceName is what an app calls the device that it runs on: UTF-8, as it
// is or percent-encoded.
const headerDeviceName = "Latchkey-Device-Name"

// namedDevice is [device] with the name that a request has in a parameter, which
// wins over the header.
func namedDevice(c *gin.Context, name string) broker.Device {
	d := device(c)
	d.Name = cmp.Or(name, d.Name)
	return d
}

// deviceName reads the name of a device from a header.
func deviceName(raw string) string {
	if decoded, err := url.PathUnescape(raw); err == nil {
		return decoded
	}
	return raw
}
