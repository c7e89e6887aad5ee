package broker

// Finding is what a [TrialStep] found.
type Finding string

// The findings of any step that asks something.
const (
	FindingNotUsable         Finding = "not_usable"
	FindingNoHost            Finding = "no_such_host"
	FindingRefusedConnection Finding = "connection_refused"
	FindingTimedOut          Finding = "timed_out"
	FindingCertificate       Finding = "bad_certificate"
	FindingPrivate           Finding = "private_address"
	FindingUnreachable       Finding = "unreachable"
	FindingTooLarge          Finding = "too_large"
	FindingStatus            Finding = "bad_status"
	FindingLeadsOn           Finding = "leads_on"
	FindingNotJSON           Finding = "not_json"
)

// The findings in what an IdP says of itself.
const (
	FindingDiscovery       Finding = "discovery_read"
	FindingLacks           Finding = "discovery_lacks"
	FindingIssuer          Finding = "same_issuer"
	FindingOtherIssuer     Finding = "other_issuer"
	FindingFlow            Finding = "code_flow"
	FindingNoFlow          Finding = "no_code_flow"
	FindingPKCE            Finding = "pkce"
	FindingNoPKCE          Finding = "pkce_unsaid"
	FindingAuth            Finding = "token_auth"
	FindingOtherAuth       Finding = "other_token_auth"
	FindingScopes          Finding = "scopes"
	FindingScopesUnsaid    Finding = "scopes_unsaid"
	FindingScopesUnlisted  Finding = "scopes_unlisted"
	FindingKeys            Finding = "keys"
	FindingNoKeys          Finding = "no_keys"
	FindingOtherAlgorithms Finding = "other_algorithms"
	FindingClock           Finding = "clock"
	FindingClockAhead      Finding = "clock_ahead"
	FindingClockBehind     Finding = "clock_behind"
	FindingClockUnsaid     Finding = "clock_unsaid"
	FindingEndSession      Finding = "end_session"
	FindingNoEndSession    Finding = "no_end_session"
	FindingBackchannel     Finding = "backchannel_logout"
	FindingNoBackchannel   Finding = "no_backchannel_logout"
)

// The findings of how it takes our client.
const (
	FindingRegistered       Finding = "redirect_uri_registered"
	FindingSeemsRegistered  Finding = "redirect_uri_seems_registered"
	FindingNotRegistered    Finding = "redirect_uri_refused"
	FindingRegistrationOpen Finding = "redirect_uri_unknown"
	FindingRequestRefused   Finding = "request_refused"
	FindingRequestTrouble   Finding = "request_trouble"
	FindingSecret           Finding = "secret_taken"
	FindingSecretOpen       Finding = "secret_unknown"
	FindingSecretRefused    Finding = "secret_refused"
	FindingAssertion        Finding = "assertion_taken"
	FindingPublicClient     Finding = "client_taken"
	FindingNoGrant          Finding = "grant_refused"
	FindingTokenTrouble     Finding = "token_trouble"
)

// FindingTexts are the sentences of the findings. A place in braces takes a value.
var FindingTexts = map[Finding]string{
	FindingNotUsable:         "It cannot be used with these settings; the log has the reason.",
	FindingNoHost:            "There is no host {host}.",
	FindingRefusedConnection: "{url} takes no connection: nothing listens there.",
	FindingTimedOut:          "{url} did not answer in time.",
	FindingCertificate:       "The certificate at {url} is not trusted: {problem}.",
	FindingPrivate:           "{url} is at a private address, which Latchkey does not ask. If the issuer is yours, allow that in its settings (allow_private); other hosts that it names have to be public.",
	FindingUnreachable:       "{url} cannot be reached.",
	FindingTooLarge:          "The answer of {url} is too large.",
	FindingStatus:            "{url} answers with the status {status}.",
	FindingLeadsOn:           "{url} leads on to {location}, where Latchkey does not follow: enter the issuer that is there.",
	FindingNotJSON:           "The answer of {url} is not what was expected: it is not JSON, or not of the right shape.",

	FindingDiscovery:       "The discovery document came in {time} ms.",
	FindingLacks:           "The discovery document has no {field} that can be used.",
	FindingIssuer:          "The discovery document is of the issuer in the settings.",
	FindingOtherIssuer:     "The discovery document is of the issuer {named}, and the settings have {issuer}. Both have to be the same to the letter, with or without a slash at the end.",
	FindingFlow:            "It knows the authorization code flow.",
	FindingNoFlow:          "It does not list the authorization code flow, which Latchkey needs; it lists {listed}.",
	FindingPKCE:            "It knows PKCE with S256.",
	FindingNoPKCE:          "It does not say that it knows PKCE with S256. Latchkey sends it all the same.",
	FindingAuth:            "Latchkey proves itself there by {method}.",
	FindingOtherAuth:       "Latchkey proves itself there by {method}, and it lists {listed} alone.",
	FindingScopes:          "It knows every scope that is asked for.",
	FindingScopesUnsaid:    "It does not say which scopes it knows.",
	FindingScopesUnlisted:  "It does not list {scopes} among its scopes: claims may be missing.",
	FindingKeys:            "Keys that can be used: {count}. It signs with {algorithms}.",
	FindingNoKeys:          "It has published no key that can be used.",
	FindingOtherAlgorithms: "It signs ID tokens with {algorithms} alone, which Latchkey does not take.",
	FindingClock:           "Its clock and this one agree.",
	FindingClockAhead:      "Its clock is {seconds} seconds ahead of this one: its tokens may be refused. One of the two is wrong.",
	FindingClockBehind:     "Its clock is {seconds} seconds behind this one: its tokens may be refused. One of the two is wrong.",
	FindingClockUnsaid:     "It does not say what time it has.",
	FindingEndSession:      "A logout here can end the session there.",
	FindingNoEndSession:    "It has no logout to which Latchkey could lead.",
	FindingBackchannel:     "It tells of logouts there, if the back-channel logout URI is registered.",
	FindingNoBackchannel:   "It does not say that it tells anybody of logouts there.",

	FindingRegistered:       "It knows the client id and the redirect URI: it led back to it.",
	FindingSeemsRegistered:  "It seems to know the client id and the redirect URI: it goes on with this one, and refuses another.",
	FindingNotRegistered:    "It refused the request with the status {status}. Probably the redirect URI {uri} is not registered there, or the client id is another.",
	FindingRegistrationOpen: "It treats another redirect URI in the same way, so that this cannot be told without a login.",
	FindingRequestRefused:   "It knows the redirect URI, but refused the request: {error}.",
	FindingRequestTrouble:   "It answered with the status {status}, which says nothing of the client.",
	FindingSecret:           "It took the client id and the secret, and refused a wrong one.",
	FindingSecretOpen:       "It does not look at the secret before it has a code, so that this cannot be told without a login.",
	FindingSecretRefused:    "It refused the client id or the secret: {error}.",
	FindingAssertion:        "It took the signature of Latchkey’s key.",
	FindingPublicClient:     "It took the client id, without a secret.",
	FindingNoGrant:          "It does not let this client use the authorization code flow: {error}.",
	FindingTokenTrouble:     "The token endpoint answered with {answer}, which says nothing of the secret.",
}
