package rp

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/providers/internal/outbound"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// keySetLimits are for one fetch of a key set.
var keySetLimits = outbound.Limits{Time: 4 * time.Second, Answer: verify.MaxJWKSBytes + 1}

// maxKeySets is how many key sets are remembered of either kind of addresses.
const maxKeySets = 256

// Keys are the key sets that clients publish at their jwks_uri (RFC 7591
// section 2): one for each address, the ones that were used last. Each is asked
// for sparingly, whatever is presented to us; see [verify.RemoteKeySet].
type Keys struct {
	clients clients
	now     func() time.Time

	mu            sync.Mutex
	guarded, open recent // apart, so that no registration pushes a configured client out
}

// NewKeys fetches nothing yet. now may be nil.
func NewKeys(now func() time.Time) *Keys {
	if now == nil {
		now = time.Now
	}
	return &Keys{clients: newClients(keySetLimits), now: now}
}

// KeySource is the key set at an address. guarded keeps to public addresses.
func (k *Keys) KeySource(jwksURI string, guarded bool) tokens.KeySource {
	if err := checkAddress(jwksURI, guarded); err != nil {
		return none{err}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	sets := &k.open
	if guarded {
		sets = &k.guarded
	}
	return sets.get(jwksURI, func() tokens.KeySource {
		client := *k.clients.pick(guarded)
		client.Transport = &patient{next: client.Transport, now: k.now}
		return verify.NewRemoteKeySet(verify.RemoteConfig{URL: jwksURI, Client: &client, Now: k.now})
	})
}

// none is the key set of an address that is not asked.
type none struct{ err error }

// Keys implements tokens.KeySource.
func (n none) Keys(context.Context, string) ([]jose.JSONWebKey, error) { return nil, n.err }

// recent holds the key sets that were used last. The zero value is ready.
type recent struct {
	order list.List // of *entry, the last used first
	byURI map[string]*list.Element
}

type entry struct {
	uri string
	set tokens.KeySource
}

func (r *recent) get(uri string, make func() tokens.KeySource) tokens.KeySource {
	if e, ok := r.byURI[uri]; ok {
		r.order.MoveToFront(e)
		return e.Value.(*entry).set
	}
	if r.byURI == nil {
		r.byURI = map[string]*list.Element{}
	}
	if r.order.Len() >= maxKeySets {
		delete(r.byURI, r.order.Remove(r.order.Back()).(*entry).uri)
	}
	set := make()
	r.byURI[uri] = r.order.PushFront(&entry{uri, set})
	return set
}
