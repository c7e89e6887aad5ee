package broker

import (
	"context"
	"errors"

	"github.com/latchkey-id/latchkey/tokens"
)

const maxAddress = 64 // of an IP address, with room for a zone

// hashImported is how a token of the imported system is kept.
func hashImported(raw string) string { return hash("imported token", raw) }

// importSession takes a session over as generation 0, whose parent the
// device's token of old is: it is presented as generation -1.
func (im *importer) importSession(ctx context.Context, from ImportSession) error {
	s := from.Session
	line := ImportLine{Kind: "session", ID: s.ID}
	owner, known := im.users[s.UserID]
	switch {
	case from.Problem != "":
		line.Reason = from.Problem
	case !uuid.MatchString(s.ID):
		line.Reason = "id: is no UUID"
	case !known:
		line.Reason = "userId: there is no such user"
	case !im.now.Before(s.IdleExpiresAt):
		im.report.Sessions.LeftOut++ // it is over there too
		return nil
	case owner.refused || owner.disabled:
		line.Reason = "its user is disabled"
		if owner.refused {
			line.Reason = "its user is not imported"
		}
		im.leftOut(&im.report.Sessions, line)
		return nil
	}
	if line.Reason == "" {
		line.Reason = im.checkTokens(from)
	}
	if line.Reason != "" {
		im.refused(&im.report.Sessions, line)
		return nil
	}
	device := Device{IP: cleanText(s.LastIP, maxAddress), UserAgent: s.UserAgent}
	fresh := im.b.newSession(&appClient, s.UserID, device, im.now)
	fresh.ID, fresh.Scope, fresh.ParentBranch = s.ID, AppScope, AnyBranch
	fresh.CreatedAt, fresh.AuthTime, fresh.LastSeenAt = s.CreatedAt, s.CreatedAt, s.LastSeenAt
	fresh.IdleExpiresAt = earlier(s.IdleExpiresAt, fresh.AbsExpiresAt)
	list := []ImportedToken{}
	for _, raw := range from.Tokens {
		list = append(list, ImportedToken{ID: hashImported(raw.Reveal()), Kind: ImportedRefresh, UserID: s.UserID, SessionID: s.ID, ExpiresAt: fresh.AbsExpiresAt})
	}
	return im.writeSession(ctx, fresh, list)
}

// countHolders finds the tokens that are of more than one session: two devices
// that go on from one token would be taken for an owner and a thief.
func (im *importer) countHolders(list []ImportSession) {
	for _, s := range list {
		if !im.now.Before(s.Session.IdleExpiresAt) {
			continue
		}
		own := map[string]bool{}
		for _, raw := range s.Tokens {
			if h := hashImported(raw.Reveal()); !own[h] {
				own[h] = true
				im.holders[h]++
			}
		}
	}
}

// checkTokens says why the tokens of a session name none.
func (im *importer) checkTokens(from ImportSession) string {
	if len(from.Tokens) == 0 {
		return "refreshToken: there is none"
	}
	for _, raw := range from.Tokens {
		if im.holders[hashImported(raw.Reveal())] > 1 {
			return "refreshToken: is that of another session too, and so names neither of the two"
		}
	}
	if im.b.cfg.Imported != nil {
		if _, err := im.b.cfg.Imported.Parse(from.Tokens[0].Reveal(), im.now); errors.Is(err, tokens.ErrMalformed) {
			im.unsigned++
		}
	}
	return ""
}

// writeSession inserts a session, or gives one that was imported before and
// that its device has not gone on with here the tokens that it has got since.
func (im *importer) writeSession(ctx context.Context, s Session, list []ImportedToken) error {
	there, _, err := im.store.SessionByID(ctx, s.ID)
	count, line := &im.report.Sessions, ImportLine{Kind: "session", ID: s.ID}
	switch {
	case errors.Is(err, NotFound):
		return im.insertSession(ctx, s, list)
	case err != nil:
		return err
	case there.UserID != s.UserID || there.ClientID != s.ClientID:
		line.Reason = "id: is that of another session here"
		im.refused(count, line)
		return nil
	case !there.EndedAt.IsZero():
		line.Reason = "it has ended here: " + string(there.EndCause)
		im.leftOut(count, line)
		return nil
	case there.Generation > 0:
		count.Unchanged++
		return nil
	}
	n, err := im.store.InsertImportedTokens(ctx, list)
	if err != nil {
		return err
	}
	moved, err := im.store.RenewImported(ctx, s.ID, s.IdleExpiresAt)
	if n > 0 || moved {
		count.Imported++
	} else {
		count.Unchanged++
	}
	return err
}

func (im *importer) insertSession(ctx context.Context, s Session, list []ImportedToken) error {
	switch err := im.store.ImportSession(ctx, s); {
	case errors.Is(err, UserDisabled):
		im.leftOut(&im.report.Sessions, ImportLine{Kind: "session", ID: s.ID, Reason: "its user is disabled"})
		return nil
	case err != nil:
		return err
	}
	if _, err := im.store.InsertImportedTokens(ctx, list); err != nil {
		return err
	}
	im.report.Sessions.Imported++
	return im.b.audit(ctx, im.store, Event{
		Name: EventSessionStarted, UserID: s.UserID, SessionID: s.ID, ClientID: s.ClientID, IP: s.LastIP, Detail: map[string]string{"method": "import"},
	})
}

// noteSecrets says what the imported tokens will be worth.
func (im *importer) noteSecrets(sessions int) {
	switch {
	case sessions == 0:
	case im.b.cfg.Imported == nil:
		im.note("import.audiobookshelf_secret is not set: until it is, the devices of these sessions have to log in again")
	case im.unsigned > 0:
		im.note("%d of %d refresh tokens were not signed with import.audiobookshelf_secret: those devices have to log in again", im.unsigned, sessions)
	}
}
