// Package lab tries apps. It stands between an app and a Latchkey as the network
// and the servers of bad days would: it loses answers after they took effect, says
// that there is trouble, sends requests twice, darkens the identity provider, sets
// clocks, and ends sessions. From the requests that it sees it tells whether the app
// did what it must, and says so check by check.
//
// What happens, and what an app must do, is in small files ([Scenario]); those
// that every app should pass are built in. The identity provider is the scripted
// one of the tests (providers/providertest). docs/lab.md is for the authors of apps.
package lab
