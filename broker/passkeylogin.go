package broker

import (
	"context"
	"encoding/json"
	"errors"
)

// BeginPasskeyLogin asks a browser for any passkey that it has for this service.
// The secret belongs into a cookie of that browser: nobody else may answer.
func (b *Broker) BeginPasskeyLogin(ctx context.Context, device Device) (options json.RawMessage, secret string, err error) {
	if !b.PasskeysOffered() {
		return nil, "", errNoPasskeys
	}
	if err := b.begins(ctx, device, nil); err != nil {
		return nil, "", err
	}
	secret = b.newSecret(32)
	options, err = b.requestPasskey(ctx, challengeLogin, secret, nil)
	return options, secret, err
}

func (b *Broker) requestPasskey(ctx context.Context, kind, boundTo string, allowed []Passkey) (json.RawMessage, error) {
	raw, c := b.newChallenge(kind, boundTo)
	options, err := b.cfg.Passkeys.Request(raw, allowed)
	if err != nil {
		return nil, Unavailable(err)
	}
	return options, b.retry(ctx, func() error { return b.cfg.Store.InsertChallenge(ctx, c) })
}

// CompletePasskeyLogin starts a session for whom a passkey is of. It stands for
// two factors: the key, and what the person unlocked it with.
func (b *Broker) CompletePasskeyLogin(ctx context.Context, secret string, answer []byte, device Device) (l *Login, err error) {
	a := attemptBy(MethodPasskey, device)
	defer func() { b.loginEnded(a, err) }()
	if !b.PasskeysOffered() {
		return nil, errNoPasskeys
	}
	said, err := b.takeChallenge(ctx, challengeLogin, secret, answer)
	if err != nil {
		return nil, err
	}
	u, k, err := b.passkeyUser(ctx, said.CredentialID)
	if a.userID = u.ID; !u.DisabledAt.IsZero() {
		a.why = UserDisabled
	}
	if err != nil {
		return nil, err
	}
	proof, err := b.provePasskey(ctx, said.Challenge, u, k, answer, device)
	if err != nil {
		return nil, err
	}
	proof.amr = k.amr()
	l, err = b.startSessionAfter(ctx, u, proof.amr, device, func(*Session) {}, func(store Store) error { return proof.use(ctx, store) })
	return l, b.orCloned(ctx, k, device, err)
}

// passkeyUser finds a passkey and whose it is.
func (b *Broker) passkeyUser(ctx context.Context, credentialID string) (u User, k Passkey, err error) {
	err = b.retry(ctx, func() (err error) {
		if k, err = b.cfg.Store.PasskeyByCredential(ctx, credentialID); err == nil {
			u, err = b.cfg.Store.UserByID(ctx, k.UserID)
		}
		return err
	})
	if errors.Is(err, NotFound) {
		return u, k, refuse(PasskeyInvalid, "this passkey is not known here; it may have been removed from the account")
	}
	if err == nil && (!u.DisabledAt.IsZero() || b.MayHaveFactors(u) != nil) {
		err = b.passkeyRefused(ctx, u.ID, errors.New("the account may not log in by a passkey"))
	}
	return u, k, err
}

var errCloned = errors.New("the passkey has counted backwards")

// provePasskey checks a passkey's answer. That its count has grown is a condition
// of the statement that uses it. An answer that proves nothing counts as a failed
// login of its address, and not of the account: no passkey can be guessed, and
// strangers who try shut nobody out.
func (b *Broker) provePasskey(ctx context.Context, challenge []byte, u User, k Passkey, answer []byte, device Device) (*factorProof, error) {
	if err := b.mayFail(ctx, addressKey(device)); err != nil {
		return nil, err
	}
	used, err := b.cfg.Passkeys.CheckAssertion(challenge, u, k, answer)
	if err != nil {
		_ = b.passkeyRefused(ctx, u.ID, err)
		return nil, b.failed(ctx, failedPassword, errPasskey, []string{addressKey(device)}, device, "username", u.Username)
	}
	k.SignCount, k.BackedUp, k.LastUsedAt = used.SignCount, used.BackedUp, b.now()
	return &factorProof{use: func(ctx context.Context, store Store) error {
		done, err := store.UsePasskey(ctx, k)
		if err == nil && !done {
			err = errCloned
		}
		return err
	}}, nil
}

// orCloned writes down, and tells the owner, that a passkey has counted backwards:
// there may be two of it. Such a login is refused.
func (b *Broker) orCloned(ctx context.Context, k Passkey, device Device, err error) error {
	if !errors.Is(err, errCloned) {
		return err
	}
	e := Event{Name: EventPasskeyCloned, UserID: k.UserID, IP: device.IP, Detail: map[string]string{"factor": FactorPasskey, "name": k.Name}}
	err = b.retryTx(ctx, func(store Store) error { return b.tellFactor(ctx, store, e) })
	if err != nil {
		return err
	}
	return b.passkeyRefused(ctx, k.UserID, errCloned)
}

// BeginPasskeySecond asks a browser for a passkey of whose login waits in it.
func (b *Broker) BeginPasskeySecond(ctx context.Context, secret string) (json.RawMessage, error) {
	s, err := b.FindSecondStep(ctx, secret)
	if err != nil {
		return nil, err
	}
	if !s.Passkeys {
		return nil, errNoPasskeys
	}
	has, err := b.cfg.Store.PasskeysOf(ctx, s.User.ID)
	if err != nil {
		return nil, err
	}
	return b.requestPasskey(ctx, challengeSecond, secret, has)
}

// CompleteLoginByPasskey is [Broker.CompleteLogin] with a passkey of that user.
func (b *Broker) CompleteLoginByPasskey(ctx context.Context, secret string, answer []byte, device Device) (l *Login, err error) {
	a := attemptBy(MethodPassword, device)
	defer func() { b.loginEnded(a, err) }()
	s, err := b.FindSecondStep(ctx, secret)
	if err != nil {
		return nil, err
	}
	a.userID = s.User.ID
	said, err := b.takeChallenge(ctx, challengeSecond, secret, answer)
	if err != nil {
		return nil, err
	}
	u, k, err := b.passkeyUser(ctx, said.CredentialID)
	if err != nil {
		return nil, err
	}
	if u.ID != s.User.ID {
		return nil, b.passkeyRefused(ctx, s.User.ID, errors.New("the passkey is another account's"))
	}
	proof, err := b.provePasskey(ctx, said.Challenge, u, k, answer, device)
	if err != nil {
		return nil, err
	}
	proof.amr = k.amr("pwd")
	l, err = b.finishSecondStep(ctx, s, *proof, device)
	return l, b.orCloned(ctx, k, device, err)
}
