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

// ViewProvider describes a provider.
func (b *Broker) ViewProvider(p Provider) ProviderView {
	return ProviderView{
		ProviderSettings: p.ProviderSettings, HasSecret: p.HasSecret, ReadOnly: p.ReadOnly, CallbackURL: b.CallbackURL(p.ID),
		Health: b.healthOf(p), CreatedAt: unixMillis(p.CreatedAt), UpdatedAt: unixMillis(p.UpdatedAt),
	}
}

func unixMillis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMilli())
}
