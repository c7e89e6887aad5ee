// Package passkey speaks WebAuthn (Level 3) for the broker: what a browser is
// asked, and whether its answers hold. Challenges, and what an answer is worth,
// are the broker's.
package passkey

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/latchkey-id/latchkey/broker"
)

// serviceName is what a browser shows beside the domain.
const serviceName = "Latchkey"

// Judge implements broker.PasskeyJudge for one domain and one origin.
type Judge struct{ rp *webauthn.WebAuthn }

// New makes a judge for the host and origin of the public URL. It fails for an
// address that is no domain name, such as an IP address: no passkey can be made
// there.
func New(publicURL string) (*Judge, error) {
	public, err := url.Parse(publicURL)
	if err != nil {
		return nil, err
	}
	rp, err := webauthn.New(&webauthn.Config{
		RPID: public.Hostname(), RPDisplayName: serviceName, RPOrigins: []string{public.Scheme + "://" + public.Host},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationRequired,
		},
		// Extensions that nobody asked for change nothing here.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, err
	}
	return &Judge{rp}, nil
}

// person is a user with passkeys, as the library asks for one.
type person struct {
	user broker.User
	keys []webauthn.Credential
}

// WebAuthnID is the user handle: the id says nothing of the person.
func (p person) WebAuthnID() []byte                         { return []byte(p.user.ID) }
func (p person) WebAuthnName() string                       { return p.user.Username }
func (p person) WebAuthnDisplayName() string                { return p.user.Username }
func (p person) WebAuthnCredentials() []webauthn.Credential { return p.keys }

func credentialOf(k broker.Passkey) (c webauthn.Credential, err error) {
	if c.ID, err = base64.RawURLEncoding.DecodeString(k.CredentialID); err != nil {
		return c, err
	}
	if c.PublicKey, err = base64.RawURLEncoding.DecodeString(k.PublicKey); err != nil {
		return c, err
	}
	for _, t := range k.Transports {
		c.Transport = append(c.Transport, protocol.AuthenticatorTransport(t))
	}
	c.Flags.BackupEligible, c.Flags.BackupState = k.Synced, k.BackedUp
	// #nosec G115 -- it was 32 bits when it was written
	c.Authenticator.SignCount = uint32(k.SignCount)
	return c, nil
}

func descriptors(keys []broker.Passkey) (out []protocol.CredentialDescriptor, err error) {
	for _, k := range keys {
		c, err := credentialOf(k)
		if err != nil {
			return nil, err
		}
		out = append(out, c.Descriptor())
	}
	return out, nil
}

// Creation implements broker.PasskeyJudge.
func (j *Judge) Creation(challenge []byte, u broker.User, has []broker.Passkey) (json.RawMessage, error) {
	exclude, err := descriptors(has)
	if err != nil {
		return nil, err
	}
	options, _, err := j.rp.BeginRegistration(person{user: u}, webauthn.WithExclusions(exclude), func(o *protocol.PublicKeyCredentialCreationOptions) error {
		o.Challenge = challenge
		return nil
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(options.Response)
}

// session is what the library compares an answer with.
func session(challenge []byte) webauthn.SessionData {
	return webauthn.SessionData{
		Challenge: base64.RawURLEncoding.EncodeToString(challenge), UserVerification: protocol.VerificationRequired,
		CredParams: webauthn.CredentialParametersDefault(),
	}
}

// CheckCreation implements broker.PasskeyJudge.
func (j *Judge) CheckCreation(challenge []byte, u broker.User, answer []byte) (broker.Passkey, error) {
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return broker.Passkey{}, said(err)
	}
	withoutStatement(&parsed.Response.AttestationObject)
	s := session(challenge)
	s.UserID = []byte(u.ID)
	c, err := j.rp.CreateCredential(person{user: u}, s, parsed)
	if err != nil {
		return broker.Passkey{}, said(err)
	}
	if err := checkKey(c.PublicKey); err != nil {
		return broker.Passkey{}, said(err)
	}
	k := broker.Passkey{
		CredentialID: base64.RawURLEncoding.EncodeToString(c.ID), PublicKey: base64.RawURLEncoding.EncodeToString(c.PublicKey),
		AAGUID: fmt.Sprintf("%x", c.Authenticator.AAGUID), SignCount: int64(c.Authenticator.SignCount),
		Synced: c.Flags.BackupEligible, BackedUp: c.Flags.BackupState,
	}
	for _, t := range c.Transport {
		if len(k.Transports) < maxTransports && len(t) <= maxTransport {
			k.Transports = append(k.Transports, string(t))
		}
	}
	return k, nil
}

// A browser says how its authenticator is reached; these bound what is kept.
const (
	maxTransports = 8
	maxTransport  = 32
)

// Request implements broker.PasskeyJudge.
func (j *Judge) Request(challenge []byte, allowed []broker.Passkey) (json.RawMessage, error) {
	list, err := descriptors(allowed)
	if err != nil {
		return nil, err
	}
	options, _, err := j.rp.BeginDiscoverableLogin(webauthn.WithChallenge(challenge), webauthn.WithAllowedCredentials(list))
	if err != nil {
		return nil, err
	}
	return json.Marshal(options.Response)
}

// Read implements broker.PasskeyJudge. It reads the answers of both ceremonies.
func (j *Judge) Read(answer []byte) (out broker.PasskeyAnswer, err error) {
	var credential struct {
		ID       string `json:"id"`
		Response struct {
			ClientData protocol.URLEncodedBase64 `json:"clientDataJSON"`
		} `json:"response"`
	}
	if err := json.Unmarshal(answer, &credential); err != nil {
		return out, err
	}
	var data struct {
		Challenge protocol.URLEncodedBase64 `json:"challenge"`
	}
	if err := json.Unmarshal(credential.Response.ClientData, &data); err != nil {
		return out, err
	}
	return broker.PasskeyAnswer{Challenge: data.Challenge, CredentialID: credential.ID}, nil
}

// CheckAssertion implements broker.PasskeyJudge.
func (j *Judge) CheckAssertion(challenge []byte, u broker.User, k broker.Passkey, answer []byte) (broker.PasskeyUse, error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return broker.PasskeyUse{}, said(err)
	}
	c, err := credentialOf(k)
	if err != nil {
		return broker.PasskeyUse{}, err
	}
	if err := checkKey(c.PublicKey); err != nil {
		return broker.PasskeyUse{}, said(err)
	}
	s := session(challenge)
	s.UserID = []byte(u.ID)
	if _, err := j.rp.ValidateLogin(person{u, []webauthn.Credential{c}}, s, parsed); err != nil {
		return broker.PasskeyUse{}, said(err)
	}
	data := parsed.Response.AuthenticatorData
	return broker.PasskeyUse{SignCount: int64(data.Counter), BackedUp: data.Flags.HasBackupState()}, nil
}

// said adds to an error of the library what it keeps for developers. None of it is
// secret.
func said(err error) error {
	if e, ok := err.(*protocol.Error); ok {
		return fmt.Errorf("%s: %s %s", e.Type, e.Details, e.DevInfo)
	}
	return err
}
