package web

import (
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// What people read of a User-Agent, and the picture beside it.
func TestUserAgentsAsPeopleReadThem(t *testing.T) {
	const webkit = " AppleWebKit/537.36 (KHTML, like Gecko) "
	for agent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0":                                     "Edge on Windows, desktop",
		"Mozilla/5.0 (Android 14; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0":                                                                    "Firefox on Android, phone",
		"Mozilla/5.0 (Linux; Android 13; SM-X700)" + webkit + "Chrome/142.0.0.0 Safari/537.36":                                                    "Chrome on Android, tablet",
		"Mozilla/5.0 (Linux; Android 14; Pixel 8; wv)" + webkit + "Version/4.0 Chrome/130.0 Mobile Safari/537.36":                                 "An app on Android, phone",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1": "Safari on iPhone, phone",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148":                           "An app on iPhone, phone",
		"Mozilla/5.0 (Web0S; Linux/SmartTV)" + webkit + "Chrome/94.0 Safari/537.36":                                                               "Chrome on TV, tv",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                   "Safari on macOS, desktop",
		"okhttp/4.12.0":      "An app on Android, phone",
		"Dart/3.5 (dart:io)": "A program that does not say its name, phone",
		"ShelfPlayer/3.0 CFNetwork/1568.100.1 Darwin/24.0.0": "ShelfPlayer on iOS, phone",
		"My%20Player/3 CFNetwork/1568 Darwin/24.0.0":         "My Player on iOS, phone",
		"plappa/1.2 (iPhone; iOS 18.0)":                      "plappa on iPhone, phone",
		"Lissen/1.5.2 (Android 14)":                          "Lissen on Android, phone",
		"KOReader/2024.04 (https://koreader.rocks/)":         "KOReader, tablet",
		"curl/8.5.0":                    "curl, program",
		"latchkey/0.1.0 (linux)":        "Latchkey, desktop",
		"":                              "A program that does not say its name, program",
		`"><svg onload=alert(1)>`:       "A program that does not say its name, program",
		strings.Repeat("A", 300) + "/1": "A program that does not say its name, program",
		"Mozilla/5.0 " + strings.Repeat("X", 300) + "/1 Safari/53": "Safari, program",
	} {
		look := lookOf(broker.Session{UserAgent: agent}, "")
		if got := english.plain(look.Name) + ", " + look.Kind; got != want {
			t.Errorf("%.80q is %q, want %q", agent, got, want)
		}
	}
}
