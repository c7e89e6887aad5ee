package totp_test

import (
	"bytes"
	"image/png"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/providers/totp"
)

// The vectors of RFC 4226 appendix D, and of RFC 6238 appendix B cut to six digits.
func TestCodesOfTheRFCs(t *testing.T) {
	secret := []byte("12345678901234567890")
	for step, want := range map[int64]string{
		0: "755224", 1: "287082", 2: "359152", 9: "520489",
		1111111109 / 30: "081804", 1234567890 / 30: "005924", 20000000000 / 30: "353130",
	} {
		if got, err := (totp.Codes{}).Code(secret, step); err != nil || got != want {
			t.Errorf("step %d: %q, %v; want %q", step, got, err, want)
		}
	}
}

func TestEnrolmentIsWhatAppsRead(t *testing.T) {
	e, err := totp.Codes{}.Enrol([]byte("12345678901234567890"), "login.example.org", `Zoë & "co" /x?`)
	if err != nil {
		t.Fatal(err)
	}
	if e.Secret != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" {
		t.Errorf("secret %q", e.Secret)
	}
	want := "otpauth://totp/login.example.org:Zo%C3%AB%20&%20%22co%22%20%2Fx%3F?secret=" + e.Secret + "&issuer=login.example.org"
	if e.URI != want {
		t.Errorf("URI %q, want %q", e.URI, want)
	}
	picture, err := png.Decode(bytes.NewReader(e.Picture))
	if err != nil || picture.Bounds().Dx() < 200 || len(e.Picture) > 8<<10 {
		t.Errorf("picture of %d bytes, %v", len(e.Picture), err)
	}
	long, err := totp.Codes{}.Enrol(make([]byte, 20), strings.Repeat("a", 100)+".example", strings.Repeat("ü", 64))
	if err != nil || len(long.Picture) == 0 {
		t.Errorf("a long name has no picture: %v", err)
	}
}
