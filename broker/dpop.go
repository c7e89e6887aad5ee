package broker

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// dpopNonceStep is how often the nonce changes. One is good for the step in
// which it was given and the next.
const dpopNonceStep = 3 * time.Minute

// DPoPNonce is the nonce of the moment (RFC 9449 section 8). It is the same on
// every replica, and nothing is stored.
func (b *Broker) DPoPNonce() string {
	return b.dpopNonce(b.now().Unix() / int64(dpopNonceStep.Seconds()))
}

func (b *Broker) dpopNonce(step int64) string {
	return strconv.FormatInt(step, 36) + "." + b.cfg.Secrets.Current().Tag("dpop nonce", strconv.FormatInt(step, 36))[:22]
}

func (b *Broker) dpopNonceGood(nonce string) bool {
	text, tag, ok := strings.Cut(nonce, ".")
	step, err := strconv.ParseInt(text, 36, 64)
	if !ok || err != nil || len(tag) != 22 {
		return false
	}
	now := b.now().Unix() / int64(dpopNonceStep.Seconds())
	if step < now-1 || step > now+1 { // another replica's clock may be ahead
		return false
	}
	for _, secret := range b.cfg.Secrets {
		if constantEqual(tag, secret.Tag("dpop nonce", text)[:22]) {
			return true
		}
	}
	return false
}

// CheckProof checks the DPoP proof of a call to the authorization server, and
// returns the thumbprint of its key; no header: an empty one. A proof counts
// once, on every replica, and needs a nonce of ours. Whoever makes a key makes proofs,
// so that their records wait for no disk: a crash of the database may forget the
// newest. Such a proof could be sent once more within two minutes of its first use, for
// the same request, and would get tokens that are bound to the key. Codes are spent
// durably, and a server need not remember proofs at all (RFC 9449 section 11.1).
func (b *Broker) CheckProof(ctx context.Context, headers []string, method, url string) (string, error) {
	if len(headers) == 0 {
		return "", nil
	}
	proof, err := tokens.ParseProof(headers, tokens.ProofRequest{Method: method, URL: url, Now: b.now()})
	if err != nil {
		return "", &Error{Code: InvalidDPoPProof, Message: plainASCII(err.Error()), Err: err}
	}
	if !b.dpopNonceGood(proof.Nonce) {
		return "", refuse(UseDPoPNonce, "use the nonce of the DPoP-Nonce header")
	}
	fresh, err := b.useOnce(ctx, b.cfg.Store.UseOnceRelaxed, proof.IssuedAt.Add(2*tokens.ProofWindow), "dpop proof", proof.Thumbprint, proof.ID)
	if err == nil && !fresh {
		err = refuse(InvalidDPoPProof, "this proof was used before")
	}
	return proof.Thumbprint, err
}
