package broker

import (
	"errors"
	"slices"
	"time"
)

// Code says why something was refused. It is an error itself, so that
// errors.Is(err, broker.TokenReused) is the whole question. The front end maps
// each code to a status, a text and a verdict in one table.
type Code string

// Error makes a Code an error.
func (c Code) Error() string { return string(c) }

// EndCause is the code that a session ended with.
type EndCause = Code

// Refusals of a refresh, a code, or an access token.
const (
	TokenExpired           Code = "token_expired"
	TemporarilyUnavailable Code = "temporarily_unavailable"
	RateLimited            Code = "rate_limited"
	LocalLoginDisabled     Code = "local_login_disabled"
	ClientMismatch         Code = "client_mismatch"
	NoToken                Code = "no_token"
	InvalidToken           Code = "invalid_token"
	WrongTokenType         Code = "wrong_token_type"
	CodeInvalid            Code = "code_invalid"
	SessionUnknown         Code = "session_unknown"
	KeyMismatch            Code = "key_mismatch"
)

// Causes that end a session. Each is also the refusal of what the session's
// tokens ask for afterwards.
const (
	SessionExpired  EndCause = "session_expired"
	SessionMaxAge   EndCause = "session_max_age"
	SessionLimit    EndCause = "session_limit"
	LoggedOut       EndCause = "logged_out"
	RevokedByUser   EndCause = "revoked_by_user"
	RevokedByAdmin  EndCause = "revoked_by_admin"
	PasswordChanged EndCause = "password_changed"
	UserDisabled    EndCause = "user_disabled"
	UserDeleted     EndCause = "user_deleted"
	ClientRemoved   EndCause = "client_removed"
	IdPLogout       EndCause = "idp_logout"
	IdPRevoked      EndCause = "idp_revoked"
	LinkUndone      EndCause = "link_undone"
	TokenReused     EndCause = "token_reused"
	CodeReused      EndCause = "code_reused"
)

// EndCauses is the closed list: every session that ended has one of them.
var EndCauses = []EndCause{
	SessionExpired, SessionMaxAge, SessionLimit, LoggedOut, RevokedByUser, RevokedByAdmin, PasswordChanged, UserDisabled, UserDeleted,
	ClientRemoved, IdPLogout, IdPRevoked, LinkUndone, TokenReused, CodeReused,
}

// Refusals of a login or of an administrative step.
const (
	InvalidRequest         Code = "invalid_request"
	InvalidCredentials     Code = "invalid_credentials"
	InvalidRedirectURI     Code = "invalid_redirect_uri"
	InvalidState           Code = "invalid_state"
	StateMismatch          Code = "state_mismatch"
	IssuerMismatch         Code = "issuer_mismatch"
	NonceMismatch          Code = "nonce_mismatch"
	AccessDenied           Code = "access_denied"
	IdPRefused             Code = "idp_refused"
	IdPBadResponse         Code = "idp_bad_response"
	ProviderUnknown        Code = "provider_unknown"
	NotProvisioned         Code = "not_provisioned"
	GroupNotAllowed        Code = "group_not_allowed"
	DomainNotAllowed       Code = "domain_not_allowed"
	EmailNotVerified       Code = "email_not_verified"
	IdentityConflict       Code = "identity_conflict"
	LastLoginMethod        Code = "last_login_method"
	UsernameTaken          Code = "username_taken"
	InvalidUsername        Code = "invalid_username"
	WeakPassword           Code = "weak_password"
	WrongPassword          Code = "wrong_password"
	PasswordChangeRequired Code = "password_change_required"
	PasswordLinkInvalid    Code = "password_link_invalid"
	Forbidden              Code = "forbidden"
	NotFound               Code = "not_found"
	SetupDone              Code = "setup_done"
	LastAdmin              Code = "last_admin"
	FormUsed               Code = "form_used"
	SecondFactorRequired   Code = "second_factor_required"
	SecondFactorInvalid    Code = "second_factor_invalid"
	WrongCode              Code = "wrong_code"
	FactorExists           Code = "factor_exists"
	PasskeyInvalid         Code = "passkey_invalid"
)

// Refusals of the OAuth 2 and OpenID Connect face, under the names of RFC 6749,
// 7591, 8628, 8693, 8707, 9126, 9449 and OIDC Core.
const (
	InvalidClient           Code = "invalid_client"
	UnauthorizedClient      Code = "unauthorized_client"
	InvalidGrant            Code = "invalid_grant"
	UnsupportedGrantType    Code = "unsupported_grant_type"
	UnsupportedResponseType Code = "unsupported_response_type"
	InvalidScope            Code = "invalid_scope"
	InvalidTarget           Code = "invalid_target"
	InsufficientScope       Code = "insufficient_scope"
	LoginRequired           Code = "login_required"
	ConsentRequired         Code = "consent_required"
	UnmetRequirements       Code = "unmet_authentication_requirements"
	RequestNotSupported     Code = "request_not_supported"
	RequestURINotSupported  Code = "request_uri_not_supported"
	InvalidRequestURI       Code = "invalid_request_uri"
	AuthorizationPending    Code = "authorization_pending"
	SlowDown                Code = "slow_down"
	DeviceCodeExpired       Code = "expired_token"
	InvalidDPoPProof        Code = "invalid_dpop_proof"
	UseDPoPNonce            Code = "use_dpop_nonce"
	InvalidClientMetadata   Code = "invalid_client_metadata"
	ClientUnknown           Code = "client_unknown"
	ClientExists            Code = "client_exists"
	ReadOnlyClient          Code = "client_read_only"
	UserCodeTaken           Code = "user_code_taken"
	UserCodeUnknown         Code = "user_code_unknown"
	CrossSite               Code = "csrf"
	ProviderExists          Code = "provider_exists"
	ReadOnlyProvider        Code = "provider_read_only"
)

// Codes lists every code, for tables that must be complete.
var Codes = slices.Concat(EndCauses, []Code{
	TokenExpired, TemporarilyUnavailable, RateLimited, LocalLoginDisabled, ClientMismatch, NoToken, InvalidToken,
	WrongTokenType, CodeInvalid, SessionUnknown, KeyMismatch,
	InvalidRequest, InvalidCredentials, InvalidRedirectURI, InvalidState, StateMismatch, IssuerMismatch, NonceMismatch,
	AccessDenied, IdPRefused, IdPBadResponse, ProviderUnknown, NotProvisioned, GroupNotAllowed, DomainNotAllowed,
	EmailNotVerified, IdentityConflict, LastLoginMethod, UsernameTaken, InvalidUsername, WeakPassword, WrongPassword,
	PasswordChangeRequired, PasswordLinkInvalid, Forbidden, NotFound, SetupDone, LastAdmin, FormUsed,
	SecondFactorRequired, SecondFactorInvalid, WrongCode, FactorExists, PasskeyInvalid,
	InvalidClient, UnauthorizedClient, InvalidGrant, UnsupportedGrantType, UnsupportedResponseType, InvalidScope, InvalidTarget,
	InsufficientScope, LoginRequired, ConsentRequired, UnmetRequirements, RequestNotSupported, RequestURINotSupported, InvalidRequestURI,
	AuthorizationPending, SlowDown, DeviceCodeExpired, InvalidDPoPProof, UseDPoPNonce, InvalidClientMetadata, ClientUnknown,
	ClientExists, ReadOnlyClient, UserCodeTaken, UserCodeUnknown, CrossSite,
	ProviderExists, ReadOnlyProvider,
})

// Error is a refusal or a failure. Message is safe to show to anybody; Err is
// for logs only. RetryAfter is set where waiting helps. Wipe asks the client to
// remove local data as well.
type Error struct {
	Code       Code
	Message    string
	Field      string // the field of the request that is wrong, or empty
	Err        error
	RetryAfter time.Duration
	Wipe       bool
	Limit      *LimitState // set for RateLimited
	// Ticket is set for PasswordChangeRequired: what [Broker.RedeemTicket] takes in
	// place of the temporary password, for ten minutes; and for SecondFactorRequired
	// where the login waits: what [Broker.CompleteLogin] takes. It is a secret.
	Ticket string
}

// Error is for logs: code, message and cause.
func (e *Error) Error() string {
	text := string(e.Code)
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives errors.Is and errors.As both the code and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Code}
	}
	return []error{e.Code, e.Err}
}

// refuse is a shorthand for a refusal with a message that may be shown.
func refuse(code Code, message string) *Error { return &Error{Code: code, Message: message} }

// fault is refuse for one field of a request.
func fault(code Code, field, message string) *Error {
	return &Error{Code: code, Field: field, Message: message}
}

// Unavailable wraps trouble of ours: the caller keeps what it has and comes
// again.
func Unavailable(err error) *Error {
	return &Error{Code: TemporarilyUnavailable, Err: err, RetryAfter: 5 * time.Second}
}

// CodeOf finds the code of an error; an error without one is trouble of ours.
func CodeOf(err error) Code {
	var code Code
	if errors.As(err, &code) {
		return code
	}
	return TemporarilyUnavailable
}
