package oauth2_test

import (
	"context"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oauth2"
)

func TestReadClaims(t *testing.T) {
	p := oauth2.GitHub(oauth2.Config{ClientID: "latchkey", ClientSecret: "s"})
	c, err := p.ReadClaims([]byte(`{"id":583231,"login":"anna","email":"a@x.test","email_verified":true,"groups":["org/team"]}`))
	if err != nil || c.Issuer != p.Issuer() || c.Subject != "583231" || c.Username != "anna" || len(c.Groups) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, text := range []string{"", "null", "[]", "{", "{} x"} {
		if _, err := p.ReadClaims([]byte(text)); broker.CodeOf(err) != broker.InvalidRequest || err == nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, _, err := p.InspectIDToken(context.Background(), "a.b.c"); broker.CodeOf(err) != broker.InvalidRequest || err == nil {
		t.Error(err)
	}
}
