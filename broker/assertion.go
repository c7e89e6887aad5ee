package broker

import (
	"context"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// ourAssertionLife is how long an assertion lives by which Latchkey proves
// itself: it is used at once, and once.
const ourAssertionLife = time.Minute

// ClientAssertion proves Latchkey to an IdP, where it is the client clientID
// (private_key_jwt: OIDC Core section 9, RFC 7523 section 2.2): a new one for
// each call, signed with the key of the algorithm whose public part
// /.well-known/jwks.json has. TemporarilyUnavailable where there is none now.
func (b *Broker) ClientAssertion(ctx context.Context, clientID, audience, algorithm string) (tokens.ClientAssertion, error) {
	now := b.now()
	signer, err := b.idSigner(ctx, algorithm, now)
	if err != nil {
		return "", err
	}
	assertion, err := signer.MintAssertion(tokens.AssertionClaims{
		ClientID: clientID, Audience: audience, ID: b.newSecret(16), IssuedAt: now.Unix(), ExpiresAt: now.Add(ourAssertionLife).Unix(),
	})
	if err != nil {
		return "", Unavailable(err)
	}
	return assertion, nil
}
