package oauth2

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// ReadClaims implements broker.Inspector. The object is an answer of the
// provider's userinfo; address and groups, which a login asks for apart, are
// read from email, email_verified and groups where the answer has them.
func (p *Provider) ReadClaims(object []byte) (broker.IdPClaims, error) {
	var claims map[string]any
	d := json.NewDecoder(bytes.NewReader(object))
	d.UseNumber()
	if d.Decode(&claims) != nil || claims == nil || d.More() {
		return broker.IdPClaims{}, &broker.Error{Code: broker.InvalidRequest, Field: "claims", Message: "claims: must be a JSON object"}
	}
	out := p.cfg.Claims.Read(p.cfg.Issuer, claims)
	out.Subject = p.dialect.subject(idp.Lookup(claims, p.cfg.Claims.Subject))
	return out, nil
}

// InspectIDToken implements broker.Inspector: there are none.
func (p *Provider) InspectIDToken(context.Context, string) ([]byte, []broker.TokenCheck, error) {
	return nil, nil, &broker.Error{Code: broker.InvalidRequest, Field: "id_token", Message: "id_token: this provider has none; give claims"}
}

var _ broker.Inspector = (*Provider)(nil)
