package passkey

import (
	"math/big"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"

	"github.com/latchkey-id/latchkey/broker"
)

// maxRSAExponent is what crypto/rsa takes.
const maxRSAExponent = 1<<31 - 1

// checkKey refuses a COSE key with which it costs much to compare a signature: whoever
// makes a passkey chooses its key, and strangers make us compare signatures with it.
// Neither the library nor crypto/rsa bounds a modulus, and one that fits into an answer
// costs a third of a second each time. Keys of other kinds have the size of their
// algorithm.
func checkKey(cose []byte) error {
	key, err := webauthncose.ParsePublicKey(cose)
	if err != nil {
		return err
	}
	k, ok := key.(webauthncose.RSAPublicKeyData)
	if !ok {
		return nil
	}
	exponent, err := webauthncose.ParseRSAPublicKeyDataExponent(&k)
	if err != nil || exponent > maxRSAExponent || new(big.Int).SetBytes(k.Modulus).BitLen() > broker.MaxPasskeyRSABits {
		return broker.ErrPasskeyKey
	}
	return nil
}

// withoutStatement takes away what an authenticator says of its make, which some do
// unasked. Nobody here reads it, and to verify it is to compute with keys that whoever
// sends it has chosen.
func withoutStatement(o *protocol.AttestationObject) {
	o.Format, o.AttStatement, o.SubStatements = string(protocol.AttestationFormatNone), nil, nil
}
