package jws

import "strconv"

// Seconds is a NumericDate (RFC 7519 section 2), whole seconds. A fraction is
// cut off; what no clock shows is an error.
type Seconds int64

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(raw []byte) error {
	const most = 1 << 53
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(f >= 0 && f <= most) {
		return ErrMalformed
	}
	*s = Seconds(f)
	return nil
}
