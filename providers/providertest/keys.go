package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"

	"github.com/go-jose/go-jose/v4"
)

// keySource makes RSA keys that no other provider has.
type keySource func() (*rsa.PrivateKey, error)

func generateKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// keyring is immutable but for being replaced.
type keyring struct {
	rsa     *rsa.PrivateKey
	ec      *ecdsa.PrivateKey
	retired []jose.JSONWebKey
	// The keys of SignWithUnknownKey.
	unknownRSA *rsa.PrivateKey
	unknownEC  *ecdsa.PrivateKey
}

func newKeyring(newKey keySource) (k keyring, err error) {
	if k.rsa, err = newKey(); err != nil {
		return k, err
	}
	if k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return k, err
	}
	k.unknownEC, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return k, err
}

// published is the current key as the JWKS has it.
func (k keyring) published(alg string) jose.JSONWebKey {
	if alg == AlgES256 {
		return publicJWK(k.ec.Public(), AlgES256)
	}
	return publicJWK(k.rsa.Public(), AlgRS256)
}

func publicJWK(key crypto.PublicKey, alg string) jose.JSONWebKey {
	jwk := jose.JSONWebKey{Key: key, Algorithm: alg, Use: "sig"}
	if print, err := jwk.Thumbprint(crypto.SHA256); err == nil {
		jwk.KeyID = base64.RawURLEncoding.EncodeToString(print)[:16]
	}
	return jwk
}

// RotateKey signs with new keys from now on. The old ones leave the JWKS
// unless the script says to keep them.
func (p *IdP) RotateKey() {
	fresh, err := newKeyring(p.newKey)
	if err != nil {
		panic(err) // making a key fails for no reason that a caller could mend
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh.retired = append(p.keys.retired[:len(p.keys.retired):len(p.keys.retired)],
		p.keys.published(AlgRS256), p.keys.published(AlgES256))
	p.keys = fresh
}

// signingKeys are the keys, with the unknown one made if the script needs it.
func (p *IdP) signingKeys(s Script) (keyring, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.SignWithUnknownKey && p.keys.unknownRSA == nil {
		key, err := p.newKey()
		if err != nil {
			return keyring{}, err
		}
		p.keys.unknownRSA = key
	}
	return p.keys, nil
}

// UnknownJWK is the public half of the RSA key with which SignWithUnknownKey
// signs, under the kid of the published one: for a jwk header, or as a second
// key of the same kid.
func (p *IdP) UnknownJWK() jose.JSONWebKey {
	keys, err := p.signingKeys(Script{SignWithUnknownKey: true})
	if err != nil {
		panic(err)
	}
	jwk := publicJWK(keys.unknownRSA.Public(), AlgRS256)
	jwk.KeyID = keys.published(AlgRS256).KeyID
	return jwk
}

// SignToken signs any claims in the way the script says, as for a logout
// token. The header wins over the honest one, of which nil leaves a member out;
// the script's is not used.
func (p *IdP) SignToken(header, claims map[string]any) (string, error) {
	audience, _ := claims["aud"].(string)
	client, _ := p.client(audience)
	s := p.currentScript()
	s.IDTokenHeader = header
	return p.sign(s, client, claims)
}

func (p *IdP) sign(s Script, client Client, claims map[string]any) (string, error) {
	keys, err := p.signingKeys(s)
	if err != nil {
		return "", err
	}
	sign, err := keys.signer(s, client)
	if err != nil {
		return "", err
	}
	header := map[string]any{"typ": "JWT", "alg": sign.alg, "kid": keys.published(s.SignAlg).KeyID}
	if s.OmitKid {
		delete(header, "kid")
	}
	maps.Copy(header, s.IDTokenHeader)
	maps.DeleteFunc(header, func(_ string, value any) bool { return value == nil })
	head, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := sign.sign([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

type signer struct {
	alg  string // as the header says it
	sign func(input []byte) ([]byte, error)
}

// signer does by hand what go-jose does: that one refuses to lie.
func (k keyring) signer(s Script, client Client) (signer, error) {
	if s.SignWithUnknownKey {
		k.rsa, k.ec = k.unknownRSA, k.unknownEC
	}
	if isNone(s.SignAlg) {
		return signer{s.SignAlg, func([]byte) ([]byte, error) { return nil, nil }}, nil
	}
	switch s.SignAlg {
	case "", AlgRS256:
		return signer{AlgRS256, func(input []byte) ([]byte, error) {
			digest := sha256.Sum256(input)
			return rsa.SignPKCS1v15(nil, k.rsa, crypto.SHA256, digest[:])
		}}, nil
	case AlgES256:
		return signer{AlgES256, k.signES256}, nil
	case AlgHS256ClientSecret:
		return hs256([]byte(client.Secret)), nil
	}
	der, err := x509.MarshalPKIXPublicKey(k.rsa.Public())
	if err != nil {
		return signer{}, err
	}
	switch s.SignAlg {
	case AlgHS256PublicPEM:
		return hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
	case AlgHS256PublicDER:
		return hs256(der), nil
	case AlgHS256PublicJWK:
		jwk, err := json.Marshal(k.published(AlgRS256))
		return hs256(jwk), err
	}
	return signer{}, fmt.Errorf("cannot sign with %q", s.SignAlg)
}

func (k keyring) signES256(input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	r, s, err := ecdsa.Sign(rand.Reader, k.ec, digest[:])
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signature, nil
}

func hs256(secret []byte) signer {
	return signer{"HS256", func(input []byte) ([]byte, error) {
		mac := hmac.New(sha256.New, secret)
		mac.Write(input)
		return mac.Sum(nil), nil
	}}
}
