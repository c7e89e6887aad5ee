package broker

import "time"

// ProviderView is a provider as administrators see it, in the API and on the
// command line. Times are Unix milliseconds. It never has the client secret.
type ProviderView struct {
	ProviderSettings
	HasSecret   bool           `json:"has_secret"`
	ReadOnly    bool           `json:"read_only"`    // it stands in the configuration
	CallbackURL string         `json:"callback_url"` // the redirect URI to register at the IdP
	Health      ProviderHealth `json:"health"`
	CreatedAt   *int64         `json:"created_at,omitempty"`
	UpdatedAt   *int64         `json:"updated_at,omitempty"`
}

// ProviderHealth is what is known of a provider without asking it.
type ProviderHealth struct {
	// InUse: people can be sent there. One of the database is not where its secret
	// cannot be opened, or before this process has read it.
	InUse        bool   `json:"in_use"`
	LastAnswerAt *int64 `json:"last_answer_at"` // of its discovery document to this process; null: none yet
}

// ViewProvider describes a provider.
func (b *Broker) ViewProvider(p Provider) ProviderView {
	v := ProviderView{
		ProviderSettings: p.ProviderSettings, HasSecret: p.HasSecret, ReadOnly: p.ReadOnly, CallbackURL: b.CallbackURL(p.ID),
		Health: ProviderHealth{InUse: p.IdP != nil}, CreatedAt: unixMillis(p.CreatedAt), UpdatedAt: unixMillis(p.UpdatedAt),
	}
	if idp, ok := p.IdP.(Answering); ok {
		v.Health.LastAnswerAt = unixMillis(idp.LastAnswer())
	}
	return v
}

func unixMillis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMilli())
}
