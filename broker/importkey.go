package broker

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// importKey takes an API key over. It counts only while legacy tokens do, by
// the signature of the system that made it: no secret of it is kept here.
func (im *importer) importKey(ctx context.Context, from ImportKey) error {
	k, count := from.Key, &im.report.Keys
	line := ImportLine{Kind: "API key", ID: k.ID, Name: k.Name}
	owner, known := im.users[k.UserID]
	switch {
	case from.Problem != "":
		line.Reason = from.Problem
	case !uuid.MatchString(k.ID):
		line.Reason = "id: is no UUID"
	case !known:
		line.Reason = "userId: there is no such user"
	case k.expired(im.now):
		count.LeftOut++
		return nil
	case owner.refused:
		line.Reason = "its user is not imported"
		im.leftOut(count, line)
		return nil
	}
	if line.Reason == "" {
		line.Reason = im.prepareKey(from, &k)
	}
	if line.Reason != "" {
		im.refused(count, line)
		return nil
	}
	there, err := im.store.APIKeyByID(ctx, k.ID)
	switch {
	case errors.Is(err, NotFound):
		return im.insertNewKey(ctx, k, line)
	case err != nil:
		return err
	case there.SecretHash != "":
		line.Reason = "id: is that of another key here"
		im.refused(count, line)
	default:
		count.Unchanged++
	}
	return nil
}

// prepareKey fills in what is ours, or says what is wrong.
func (im *importer) prepareKey(from ImportKey, k *APIKey) string {
	var err error
	if k.Name, err = checkKeyName(k.Name); err != nil {
		return fieldError("name", err).Error()
	}
	if k.Description, err = checkKeyDescription(k.Description); err != nil {
		return fieldError("description", err).Error()
	}
	if creator, known := im.users[k.CreatedBy]; !known || creator.refused {
		k.CreatedBy = ""
	}
	k.Scope, k.UpdatedAt = ScopeAPI, im.now
	if from.Disabled {
		k.DisabledAt = im.now
	}
	return ""
}

// endedKey is what is left of an imported key, so that no import brings back what
// somebody took away.
func endedKey(k APIKey, now time.Time) ImportedToken {
	return ImportedToken{ID: hash("imported key", k.ID), Kind: ImportedEndedKey, UserID: k.UserID, ExpiresAt: now.Add(noMaxAge)}
}

// insertNewKey inserts a key that is not there, unless it was deleted here.
func (im *importer) insertNewKey(ctx context.Context, k APIKey, line ImportLine) error {
	_, err := im.store.ImportedToken(ctx, endedKey(k, im.now).ID, im.now)
	switch {
	case errors.Is(err, NotFound):
		return im.insertKey(ctx, k, line)
	case err != nil:
		return err
	}
	line.Reason = "it was deleted here"
	im.leftOut(&im.report.Keys, line)
	return nil
}

func (im *importer) insertKey(ctx context.Context, k APIKey, line ImportLine) error {
	if err := im.store.LockUser(ctx, k.UserID); err != nil {
		return err
	}
	done, err := im.store.InsertAPIKey(ctx, k, MaxAPIKeys)
	if err != nil {
		return err
	}
	if !done {
		line.Reason = fmt.Sprintf("a user has at most %d API keys", MaxAPIKeys)
		im.refused(&im.report.Keys, line)
		return nil
	}
	im.report.Keys.Imported++
	return im.b.audit(ctx, im.store, Event{
		Name: EventAPIKeyCreated, UserID: k.UserID, Detail: map[string]string{"key_id": k.ID, "name": k.Name, "scope": k.Scope, "method": "import"},
	})
}
