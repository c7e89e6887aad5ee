package broker

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// Sight is how a request looked when it reached a server: what stands between
// whoever asked and the server shows in it. It has no secret.
type Sight struct {
	Version        string   `json:"version"`
	PublicURL      string   `json:"public_url"`
	Address        string   `json:"address"`         // of the client, as the server believes it
	Peer           string   `json:"peer"`            // address and port at the other end of the connection
	PeerTrusted    bool     `json:"peer_trusted"`    // trusted_proxies names it
	Scheme         string   `json:"scheme"`          // of the client, as the server believes it: http or https
	TLS            bool     `json:"tls"`             // of the connection itself
	Protocol       string   `json:"protocol"`        // HTTP/1.1
	Host           string   `json:"host"`            // of the request
	ForwardedFor   string   `json:"forwarded_for"`   // X-Forwarded-For as it came; empty: it did not
	ForwardedProto string   `json:"forwarded_proto"` // X-Forwarded-Proto as it came
	Keys           []string `json:"keys"`            // ids of the signing keys
	Now            int64    `json:"now"`             // the server's clock, Unix milliseconds
}

const (
	// questionLife is how long a question may be on its way, and how far the
	// clocks of the two may be apart. Who asks again what somebody else asked
	// learns how his own request looked.
	questionLife = 5 * time.Minute
	maxQuestion  = 200 // bytes
	maxSight     = 300 // bytes of each header
	tagQuestion  = "diagnosis question"
	tagAnswer    = "diagnosis answer"
)

// NewQuestion asks a server how it sees a request. Only who has the root secret
// of an installation can ask; nothing is stored for it, on either side. The
// nonce is random, and base64url without padding.
func NewQuestion(s tokens.Secrets, nonce string, now time.Time) string {
	at := strconv.FormatInt(now.Unix(), 10)
	return at + "." + nonce + "." + s.Current().Tag(tagQuestion, at, nonce)
}

// AnswerQuestion says what was seen of a request, and proves that who says so
// has the same root secret. Forbidden.
func (b *Broker) AnswerQuestion(question string, seen Sight) (answer []byte, proof string, err error) {
	forbidden := refuse(Forbidden, "only latchkey doctor asks this, with the root secret of this server")
	parts := strings.Split(question, ".")
	if len(question) > maxQuestion || len(parts) != 3 || !b.cfg.Secrets.CheckTag(parts[2], tagQuestion, parts[0], parts[1]) {
		return nil, "", forbidden
	}
	if at, err := strconv.ParseInt(parts[0], 10, 64); err != nil || b.now().Sub(time.Unix(at, 0)).Abs() > questionLife {
		return nil, "", refuse(Forbidden, "the clock of latchkey doctor and that of this server are too far apart")
	}
	seen.PublicURL, seen.Now = b.cfg.PublicURL, b.now().UnixMilli()
	for _, k := range b.KeyRing().Keys() {
		seen.Keys = append(seen.Keys, k.ID)
	}
	for _, text := range []*string{&seen.Host, &seen.ForwardedFor, &seen.ForwardedProto} {
		*text = (*text)[:min(len(*text), maxSight)]
	}
	if answer, err = json.Marshal(seen); err != nil {
		return nil, "", err
	}
	// Under the secret that asked, which may be an earlier one of ours.
	for _, s := range b.cfg.Secrets {
		if (tokens.Secrets{s}).CheckTag(parts[2], tagQuestion, parts[0], parts[1]) {
			proof = s.Tag(tagAnswer, parts[1], base64.RawURLEncoding.EncodeToString(answer))
		}
	}
	return answer, proof, nil
}

// ReadAnswer reads what [Broker.AnswerQuestion] said to the question of a nonce.
func ReadAnswer(s tokens.Secrets, nonce string, answer []byte, proof string) (seen Sight, err error) {
	if !s.CheckTag(proof, tagAnswer, nonce, base64.RawURLEncoding.EncodeToString(answer)) {
		return seen, errors.New("who answered does not have the root secret")
	}
	return seen, json.Unmarshal(answer, &seen)
}

// SecretState is how root secrets stand to a database.
type SecretState string

// The states of a root secret.
const (
	SecretUnused  SecretState = "unused"  // the database was used with none yet
	SecretCurrent SecretState = "current" // it was last used with the current one
	SecretEarlier SecretState = "earlier" // with an earlier one that is still held
	SecretOther   SecretState = "other"   // with one that is not held: no server of these secrets is ready
)
