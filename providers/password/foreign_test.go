package password

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// foreign are published test vectors, or computed with other implementations.
var foreign = map[string]struct{ hash, password string }{
	"argon2id":           {"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
	"argon2i":            {"$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA", "password"},
	"scrypt (RFC 7914)":  {"$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw", "pleaseletmein"},
	"PBKDF2 (RFC 6070)":  {"$pbkdf2$4096$c2FsdA$SwB5AbdlSJq.rUnZJvch0GWkKcE", "password"},
	"PBKDF2 SHA-256":     {"$pbkdf2-sha256$29000$c2FsdA$oNRXxB3TYAgwRIBCdRxWYWMfs1QrGuifpzgFuVKcQUQ", "password"},
	"PBKDF2 SHA-512":     {"$pbkdf2-sha512$25000$c2FsdA$q7Mkf5vRbVyPCfrIEfdKAJW7xinlwvhsk5VKwC2JMaeVQsbJvAGC45wIGic.bJqnZ786aopU6.Qlb8jNRDnuFQ", "password"},
	"bcrypt 2a":          {"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
	"bcrypt 2b":          {"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
	"bcrypt 2y":          {"$2y$10$.vGA1O9wmRjrwAVXD98HNOgsNpDczlqm3Jq7KnEd1rVAGv3Fykk1a", "rasmuslerdorf"},
	"Django":             {"pbkdf2_sha256$20000$seasalt$yXda3EfFWzcJ1tKLdmkZzso2ECH3pXBeuf9DwKr2Mpc=", "letmein please"},
	"Django with SHA-1":  {"pbkdf2_sha1$20000$seasalt$SFpYNleQoBmX5xDFk1XOY1swGyw=", "letmein please"},
	"Django with scrypt": {"scrypt$16384$seasalt$8$5$LXvwkOBhprbpWlBhs6mAxqu2N01iuhmpxJXhAJNWThLqJF9O3WMpZCInTH6Rvf1BpjFzUkaGo944OLA3w/B9JQ==", "letmein please"},
	"Django with bcrypt": {"bcrypt$$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
	"Django with argon2": {"argon2$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
}

func TestHashesFromElsewhereAreVerifiedAndAskedToBeReplaced(t *testing.T) {
	h, ctx := hasher(t, Config{}), context.Background()
	for name, vector := range foreign {
		hash := FromDjango(vector.hash)
		if err := h.CheckHash(hash); err != nil {
			t.Errorf("%s: refused: %v", name, err)
			continue
		}
		if ok, rehash, err := h.Verify(ctx, hash, vector.password); !ok || !rehash || err != nil {
			t.Errorf("%s: ok %v, rehash %v, err %v", name, ok, rehash, err)
		}
		for _, wrong := range []string{"", vector.password + " ", vector.password[1:], strings.ToUpper(vector.password) + "!"} {
			if ok, rehash, err := h.Verify(ctx, hash, wrong); ok || rehash || err != nil {
				t.Errorf("%s with %q: ok %v, rehash %v, err %v", name, wrong, ok, rehash, err)
			}
		}
	}
}

func TestOurOwnHashIsAcceptedAndStays(t *testing.T) {
	h, ctx := hasher(t, Config{}), context.Background()
	hash, err := h.Hash(ctx, "correct horse")
	if err != nil || h.CheckHash(hash) != nil {
		t.Fatal(err, h.CheckHash(hash))
	}
	if ok, rehash, _ := h.Verify(ctx, hash, "correct horse"); !ok || rehash {
		t.Fatalf("ok %v, rehash %v", ok, rehash)
	}
}

// Whoever can bring a hash must not make every login cost gigabytes or minutes.
func TestHashesThatWouldCostTooMuchAreRefusedBeforeTheyCost(t *testing.T) {
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h, began := hasher(t, Config{}), time.Now()
	for _, hash := range []string{
		"$argon2id$v=19$m=4194304,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=131073,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=1000000,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=99999999999999999999,p=1$" + salt + "$" + key,
		"$argon2i$v=19$m=64,t=1,p=16777215$" + salt + "$" + key,
		"$scrypt$ln=18,r=8,p=1$" + salt + "$" + key,
		"$scrypt$ln=17,r=8,p=2$" + salt + "$" + key,
		"$scrypt$ln=58,r=8,p=1$" + salt + "$" + key,
		"$scrypt$ln=1,r=8,p=1073741823$" + salt + "$" + key,
		"$pbkdf2-sha256$2000001$" + salt + "$" + key,
		"$pbkdf2-sha512$2000000000$" + salt + "$" + key,
		"$pbkdf2$4096$" + salt + "$" + key, // two blocks of SHA-1
		"$2b$15$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$pbkdf2-sha256$1000$" + strings.Repeat("c2FsdHNhbHQ", 100) + "$" + key,
	} {
		if err := h.CheckHash(broker.PasswordHash(hash)); err == nil {
			t.Errorf("accepted: %s", hash)
		}
		if ok, rehash, err := h.Verify(context.Background(), broker.PasswordHash(hash), "password"); ok || rehash || err == nil {
			t.Errorf("computed: %s", hash)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("refusing took %v", took)
	}
}

func TestWhatIsNoHashOrTooWeakAKindIsNeverTaken(t *testing.T) {
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h := hasher(t, Config{})
	for name, hash := range map[string]string{
		"empty":                    "",
		"plain text":               "password",
		"plaintext":                "$plaintext$password",
		"base64":                   "$base64$cGFzc3dvcmQ",
		"md5crypt":                 "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
		"apr1":                     "$apr1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
		"sha1crypt":                "$sha1$480000$saltsalt$vPRKrnrXVuwFOGJ0RK6ZeZeh1hOk",
		"hex MD5":                  "5f4dcc3b5aa765d61d8327deb882cf99",
		"bcrypt with the sign bug": "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"bcrypt of the first kind": "$2$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"bcrypt, cut short":        "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe",
		"bcrypt without cost":      "$2b$00$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"argon2d":                  "$argon2d$v=19$m=64,t=1,p=1$" + salt + "$" + key,
		"argon2 of old":            "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + key,
		"argon2 without memory":    "$argon2id$v=19$t=1,p=1$" + salt + "$" + key,
		"argon2 with memory twice": "$argon2id$v=19$m=64,t=1,p=1,m=4194304$" + salt + "$" + key,
		"argon2, no passes":        "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + key,
		"argon2, negative":         "$argon2id$v=19$m=-1,t=1,p=1$" + salt + "$" + key,
		"a key of one byte":        "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$CQ",
		"no key":                   "$pbkdf2-sha256$29000$" + salt + "$",
		"scrypt without N":         "$scrypt$r=8,p=1$" + salt + "$" + key,
		"Django, unusable":         "!dQ7mSDcAcwTTqKc7",
		"Django with MD5":          "md5$seasalt$f5531bef9f3687d0ccf0f617f0e25573",
		"Django, damaged":          "pbkdf2_sha256$many$seasalt$yXda3EfFWzcJ1tKLdmkZzso2ECH3pXBeuf9DwKr2Mpc=",
	} {
		err := h.CheckHash(FromDjango(hash))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if len(hash) > 8 && strings.Contains(err.Error(), hash[8:]) {
			t.Errorf("%s: the error holds the hash: %v", name, err)
		}
	}
}

// bcrypt sees 72 bytes. What is longer matches by its beginning, until the hash
// is replaced by one that sees all of it.
func TestBcryptSeesSeventyTwoBytesAndItsReplacementAll(t *testing.T) {
	const (
		hash  = "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"
		seen  = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
		whole = seen + "chars after 72 are ignored"
	)
	h, ctx := hasher(t, Config{}), context.Background()
	for _, password := range []string{whole, seen + "X", seen + "Y"} {
		if ok, rehash, err := h.Verify(ctx, hash, password); !ok || !rehash || err != nil {
			t.Errorf("%q: %v %v %v", password, ok, rehash, err)
		}
	}
	if ok, _, _ := h.Verify(ctx, hash, seen[1:]+"0"); ok {
		t.Error("a difference within 72 bytes was not seen")
	}
	replaced, err := h.Hash(ctx, whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, neighbour := range []string{seen, seen + "X", whole + " "} {
		if ok, _, _ := h.Verify(ctx, replaced, neighbour); ok {
			t.Errorf("after the replacement %q matches", neighbour)
		}
	}
}

// One password is its whole text: no neighbour matches.
func TestNoNeighbourOfAPasswordMatches(t *testing.T) {
	h, ctx := hasher(t, Config{}), context.Background()
	long := strings.Repeat("a", 72)
	for password, neighbours := range map[string][]string{
		long + "X":            {long + "Y", long},
		"pass\x00word1234567": {"pass", "pass\x00", "password1234567"},
		"trailing space ":     {"trailing space", "trailing space  "},
		"🔑🔑🔑🔑🔑🔑🔑🔑":            {"🔑🔑🔑🔑🔑🔑🔑", "🔒🔑🔑🔑🔑🔑🔑🔑"},
	} {
		hash, err := h.Hash(ctx, password)
		if err != nil {
			t.Fatal(err)
		}
		if ok, _, _ := h.Verify(ctx, hash, password); !ok {
			t.Errorf("%q does not match itself", password)
		}
		for _, neighbour := range neighbours {
			if ok, _, _ := h.Verify(ctx, hash, neighbour); ok {
				t.Errorf("%q matches %q", password, neighbour)
			}
		}
	}
}
