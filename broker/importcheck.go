package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// checkUser says what is wrong with a user, by the name of its field, and fills
// in what is missing.
func (im *importer) checkUser(u *ImportUser) error {
	if u.Problem != "" {
		return errors.New(u.Problem)
	}
	x := &u.User
	var err error
	if x.Username, err = checkUsername(x.Username); err != nil {
		return fieldError("username", err)
	}
	if x.Email, err = checkEmail(x.Email); err != nil {
		return fieldError("email", err)
	}
	if x.Role == "" {
		x.Role = RoleUser
	}
	if !x.Role.Valid() {
		return fmt.Errorf("role: %q is none of root, admin, user, guest", cleanText(string(x.Role), MaxUsername))
	}
	if x.ID == "" {
		x.ID = idOfName(x.Username)
	}
	if x.ID = strings.ToLower(x.ID); !uuid.MatchString(x.ID) {
		return errors.New("id: is no UUID")
	}
	if x.PasswordHash != "" {
		if err := im.b.cfg.Hasher.CheckHash(x.PasswordHash); err != nil {
			return fieldError("password_hash", err)
		}
	}
	x.Name = cleanText(x.Name, MaxName)
	x.EmailVerified = x.EmailVerified && x.Email != ""
	if x.CreatedAt.IsZero() {
		x.CreatedAt = im.now
	}
	if x.UpdatedAt = im.now; u.Disabled {
		x.DisabledAt = im.now
	}
	return im.checkTwice(x)
}

// checkTwice finds the second line of one user.
func (im *importer) checkTwice(x *User) error {
	name := FoldUsername(x.Username)
	if known, twice := im.users[x.ID]; twice && !known.refused {
		return errors.New("id: is that of an earlier line")
	}
	if im.names[name] {
		return errors.New("username: is that of an earlier line")
	}
	im.names[name], im.users[x.ID] = true, importedUser{}
	return nil
}

// fieldError names the field of a refusal.
func fieldError(field string, err error) error {
	text := err.Error()
	if e, ok := errors.AsType[*Error](err); ok && e.Message != "" {
		text = e.Message
	}
	return fmt.Errorf("%s: %s", field, text)
}

// idOfName makes a UUID version 8 (RFC 9562 section 5.8) of a name, for a user
// that comes without an ID.
func idOfName(username string) string {
	sum := sha256.Sum256([]byte("latchkey import " + FoldUsername(username)))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// checkIdentity completes what an IdP calls a user, or says why it names nobody.
func (im *importer) checkIdentity(i *Identity, u User) error {
	if i.ProviderID == "" && i.Issuer == "" {
		i.ProviderID = im.options.ProviderID
	}
	issuer := ""
	if p, err := im.b.provider(i.ProviderID); err == nil {
		i.ProviderID, issuer = p.ID, p.IdP.Issuer()
	}
	switch {
	case i.Issuer == "" && i.ProviderID == "":
		return errors.New("no issuer: name the provider that it is of with --provider")
	case i.Issuer == "" && issuer == "":
		return fmt.Errorf("provider: there is no %q", cleanText(i.ProviderID, MaxUsername))
	case i.Issuer == "":
		i.Issuer = issuer
	case i.ProviderID != "" && issuer != "" && issuer != i.Issuer:
		return fmt.Errorf("issuer: is not the one of the provider %q", cleanText(i.ProviderID, MaxUsername))
	}
	for field, text := range map[string]string{"subject": i.Subject, "issuer": i.Issuer, "provider": i.ProviderID} {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, invisible) || len(text) > maxIssuer {
			return fmt.Errorf("%s: is no plain text", field)
		}
	}
	if i.Subject == "" || len(i.Subject) > maxSubject {
		return fmt.Errorf("subject: has 1 to %d bytes", maxSubject)
	}
	i.UserID, i.CreatedAt, i.LastUsedAt = u.ID, im.now, im.now
	return nil
}
