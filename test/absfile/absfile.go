// Package absfile makes database files of Audiobookshelf 2.36 for tests, from
// its contract alone: the tables that hold logins, with people, devices, keys
// and tokens signed by a secret that the test knows.
package absfile

import (
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver" // registers "sqlite3"
	"golang.org/x/crypto/bcrypt"
)

// Secret is the one that the tokens of every file are signed with.
const Secret = "the secret with which Audiobookshelf signs"

// Lifetimes as Audiobookshelf has them by default.
const (
	RefreshLife = 30 * 24 * time.Hour
	AccessLife  = time.Hour
)

// User is a person in the file.
type User struct {
	ID       string
	Name     string
	Password string
	Legacy   string // the token that never expires
	Access   string
	Subject  string // at the IdP; or empty
}

// Session is a device in the file. Previous is the token that Refresh replaced,
// on a device that never got the answer.
type Session struct {
	ID       string
	UserID   string
	Refresh  string
	Previous string
}

// Key is an API key in the file.
type Key struct {
	ID     string
	UserID string
	Token  string
}

// File is what is in a file.
type File struct {
	Path     string
	Users    []User
	Sessions []Session
	Keys     []Key
}

// schema is that of the contract, as Sequelize makes it.
const schema = `
CREATE TABLE users (id UUID PRIMARY KEY, username VARCHAR(255), email VARCHAR(255), pash VARCHAR(255), type VARCHAR(255), token VARCHAR(255),
	isActive TINYINT(1) DEFAULT 0, isLocked TINYINT(1) DEFAULT 0, lastSeen DATETIME, permissions JSON, bookmarks JSON, extraData JSON,
	createdAt DATETIME NOT NULL, updatedAt DATETIME NOT NULL);
CREATE TABLE sessions (id UUID PRIMARY KEY, ipAddress VARCHAR(255), userAgent VARCHAR(255), refreshToken VARCHAR(255) NOT NULL,
	expiresAt DATETIME NOT NULL, lastRefreshToken VARCHAR(255), lastRefreshTokenExpiresAt DATETIME,
	createdAt DATETIME NOT NULL, updatedAt DATETIME NOT NULL, userId UUID REFERENCES users (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE apiKeys (id UUID PRIMARY KEY, name VARCHAR(255) NOT NULL, description TEXT, expiresAt DATETIME, lastUsedAt DATETIME,
	isActive TINYINT(1) NOT NULL DEFAULT 0, permissions JSON, createdAt DATETIME NOT NULL, updatedAt DATETIME NOT NULL,
	userId UUID REFERENCES users (id) ON DELETE CASCADE ON UPDATE CASCADE, createdByUserId UUID REFERENCES users (id) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE settings ("key" VARCHAR(255) PRIMARY KEY, value JSON, createdAt DATETIME NOT NULL, updatedAt DATETIME NOT NULL);
-- SQLite before 3.44 cannot read a schema with such a trigger, and Audiobookshelf's has some.
CREATE TRIGGER names_in_order AFTER INSERT ON settings BEGIN
	UPDATE settings SET updatedAt = (SELECT group_concat(updatedAt, ', ' ORDER BY "key") FROM settings) WHERE 0;
END;
`

// Make writes a file with n people, root first, and one device each. Every
// tenth device lost the last answer and holds the token before. The device of
// user i was last used i minutes before now.
func Make(path string, n int, now time.Time) (*File, error) {
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: path}).EscapedPath())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	f := &File{Path: path}
	err = errors.Join(run(db, "PRAGMA synchronous = off"), run(db, schema), run(db, "BEGIN"))
	for i := range n {
		err = errors.Join(err, f.addUser(db, i, now), f.addSession(db, i, now))
	}
	err = errors.Join(err, f.addKey(db, now), run(db, `INSERT INTO settings VALUES ('server-settings', json_object('id', 'server-settings', 'tokenSecret', ?), ?, ?)`,
		Secret, Time(now), Time(now)))
	return f, errors.Join(err, run(db, "COMMIT"))
}

func run(db *sql.DB, query string, args ...any) error {
	_, err := db.Exec(query, args...)
	return err
}

// Time is a time as Sequelize writes it.
func Time(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 +00:00") }

// ID makes a UUID of a name, the same each time.
func ID(name string) string {
	sum := sha256.Sum256([]byte(name))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Sign makes a token of Audiobookshelf under a secret.
func Sign(secret string, claims map[string]any) string {
	payload, _ := json.Marshal(claims) // of texts and numbers, which always marshal
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Refresh makes a refresh token as Audiobookshelf does.
func Refresh(secret string, u User, jti string, issued time.Time) string {
	return Sign(secret, map[string]any{
		"userId": u.ID, "username": u.Name, "jti": jti, "type": "refresh", "iat": issued.Unix(), "exp": issued.Add(RefreshLife).Unix(),
	})
}

func (f *File) addUser(db *sql.DB, i int, now time.Time) error {
	name, role := fmt.Sprintf("reader%03d", i), "user"
	switch i {
	case 0:
		name, role = "root", "root"
	case 1:
		role = "admin"
	}
	u := User{ID: ID(name), Name: name, Password: "the password of " + name}
	u.Legacy = Sign(Secret, map[string]any{"userId": u.ID, "username": u.Name, "iat": now.Add(-400 * 24 * time.Hour).Unix()})
	u.Access = Sign(Secret, map[string]any{
		"userId": u.ID, "username": u.Name, "jti": ID("access of " + name), "type": "access", "iat": now.Unix(), "exp": now.Add(AccessLife).Unix(),
	})
	extra := `{"seriesHideFromContinueListening":[],"oldUserId":"usr_` + name + `"}`
	if i%50 == 2 {
		u.Subject = "subject of " + name
		extra = `{"authOpenIDSub":"` + u.Subject + `"}`
	}
	pash, err := bcrypt.GenerateFromPassword([]byte(u.Password), bcrypt.MinCost)
	f.Users = append(f.Users, u)
	return errors.Join(err, run(db, `INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, 1, 0, ?, ?, '[]', ?, ?, ?)`,
		u.ID, u.Name, name+"@example.org", string(pash), role, u.Legacy, Time(now.Add(-time.Hour)),
		`{"download":true,"update":false,"delete":false,"upload":false,"createEreader":false,"accessAllLibraries":false,"accessAllTags":true,`+
			`"accessExplicitContent":false,"selectedTagsNotAccessible":false,"librariesAccessible":["lib-1"],"itemTagsSelected":[]}`,
		extra, Time(now.Add(-500*24*time.Hour)), Time(now.Add(-time.Hour))))
}

func (f *File) addSession(db *sql.DB, i int, now time.Time) error {
	u, used := f.Users[i], now.Add(-time.Duration(i)*time.Minute)
	s := Session{ID: ID("session of " + u.Name), UserID: u.ID, Refresh: Refresh(Secret, u, ID("jti of "+u.Name), used)}
	var previous, previousEnd any
	if i%10 == 3 {
		s.Previous = Refresh(Secret, u, ID("earlier jti of "+u.Name), used.Add(-2*time.Hour))
		previous, previousEnd = s.Previous, Time(used.Add(10*time.Minute))
	}
	f.Sessions = append(f.Sessions, s)
	return run(db, `INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.ID, fmt.Sprintf("198.51.100.%d", i%250), "Phone of "+u.Name, s.Refresh, Time(used.Add(RefreshLife)), previous, previousEnd,
		Time(used.Add(-48*time.Hour)), Time(used), u.ID)
}

// addKey gives root a key that acts for the last of the people.
func (f *File) addKey(db *sql.DB, now time.Time) error {
	k := Key{ID: ID("a key"), UserID: f.Users[len(f.Users)-1].ID}
	k.Token = Sign(Secret, map[string]any{"keyId": k.ID, "name": "home", "type": "api", "iat": now.Unix()})
	f.Keys = append(f.Keys, k)
	return run(db, `INSERT INTO apiKeys VALUES (?, 'home', NULL, NULL, NULL, 1, NULL, ?, ?, ?, ?)`, k.ID, Time(now), Time(now), k.UserID, f.Users[0].ID)
}
