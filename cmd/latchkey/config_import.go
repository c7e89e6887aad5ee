package main

import (
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// importConfig is what is believed of the system that users were imported from.
type importConfig struct {
	AudiobookshelfSecret string `yaml:"audiobookshelf_secret"`
	AcceptLegacyUntil    string `yaml:"accept_legacy_until"`
}

// mostLegacy is how far ahead the end of the legacy tokens may lie: who needs
// them longer says so once a year.
const mostLegacy = 366 * 24 * time.Hour

func (c *importConfig) check(p *problems, now time.Time) {
	if n := len(c.AudiobookshelfSecret); n > 0 && n < tokens.MinImportedSecretBytes {
		p.add("import.audiobookshelf_secret", "(LATCHKEY_IMPORT_AUDIOBOOKSHELF_SECRET) has %d bytes, at least %d are needed: whoever has a token could guess it", n, tokens.MinImportedSecretBytes)
	}
	if c.AcceptLegacyUntil == "" {
		return
	}
	const key = "import.accept_legacy_until"
	until, err := c.legacyUntil()
	switch {
	case err != nil:
		p.add(key, "is %q, must be a date such as 2027-03-01, or a time such as 2027-03-01T12:00:00Z", c.AcceptLegacyUntil)
	case until.Sub(now) > mostLegacy:
		p.add(key, "is more than a year ahead: tokens that never expire have to end")
	case c.AudiobookshelfSecret == "":
		p.add(key, "needs import.audiobookshelf_secret (LATCHKEY_IMPORT_AUDIOBOOKSHELF_SECRET)")
	}
}

func (c *importConfig) warnings(now time.Time) (out []string) {
	if n := len(c.AudiobookshelfSecret); n > 0 && n < tokens.MinSecretBytes {
		out = append(out, "import.audiobookshelf_secret has fewer than 32 bytes: whoever has a token may find it by trying")
	}
	if until, err := c.legacyUntil(); err == nil && !until.IsZero() {
		if now.Before(until) {
			out = append(out, "import.accept_legacy_until lets tokens in that never expire, until "+when(until))
		} else {
			out = append(out, "import.accept_legacy_until has passed; remove it")
		}
	}
	return out
}

// legacyUntil is the moment from which legacy tokens count no more; zero: they
// never do. A date is its beginning, UTC.
func (c *importConfig) legacyUntil() (time.Time, error) {
	if c.AcceptLegacyUntil == "" {
		return time.Time{}, nil
	}
	until, err := time.Parse(time.DateOnly, c.AcceptLegacyUntil)
	if err != nil {
		until, err = time.Parse(time.RFC3339, c.AcceptLegacyUntil)
	}
	return until.UTC(), err
}

func (c *importConfig) secret() (*tokens.ImportedSecret, error) {
	if c.AudiobookshelfSecret == "" {
		return nil, nil
	}
	return tokens.NewImportedSecret([]byte(c.AudiobookshelfSecret))
}
