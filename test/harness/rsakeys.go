package harness

import (
	"bytes"
	"crypto/rsa"
	"math/big"
)

// MersenneRSA is an RSA key whose primes are 2^p-1 and 2^q-1: of any length at once,
// where the search for primes takes minutes. It has p+q bits.
func MersenneRSA(p, q uint) *rsa.PrivateKey {
	one := big.NewInt(1)
	less := func(n uint) *big.Int { // the prime, less one
		m := new(big.Int).Lsh(one, n)
		return m.Sub(m, big.NewInt(2))
	}
	a, b := less(p), less(q)
	k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{E: 65537}}
	k.D = new(big.Int).ModInverse(big.NewInt(65537), new(big.Int).Mul(a, b))
	k.N = new(big.Int).Mul(a.Add(a, one), b.Add(b, one))
	return k
}

// signRSA is RS256 (RFC 8017 section 8.2.1), with a key that crypto/rsa would not
// sign with.
func signRSA(k *rsa.PrivateKey, sum [32]byte) []byte {
	head := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
	size := k.Size()
	padded := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, size-3-len(head)-len(sum))...)
	padded = append(append(append(padded, 0), head...), sum[:]...)
	return new(big.Int).Exp(new(big.Int).SetBytes(padded), k.D, k.N).FillBytes(make([]byte, size))
}
