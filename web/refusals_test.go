package web

import (
	"go/ast"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// In German a refusal said the sentence of its code, which was about something
// else: "Die App braucht eine neue Anmeldung" where a link needed one.
func TestRefusalsSayInGermanWhatTheySayInEnglish(t *testing.T) {
	all, err := loadTongues()
	if err != nil {
		t.Fatal(err)
	}
	german := all.list[1]
	for message, at := range refusalsInUse(t) {
		if german.says[message] == "" {
			t.Errorf("%s: no text in %s for %q", at, german.tag, message)
		}
		filled := places.ReplaceAllString(message, "Shelf & Co.")
		said := german.html(sentence(&broker.Error{Code: broker.LoginRequired, Message: filled}, answers[broker.LoginRequired]))
		if german.says[message] != "" && string(said) != places.ReplaceAllString(german.says[message], "<bdi>Shelf &amp; Co.</bdi>") {
			t.Errorf("%q is said as %q", filled, said)
		}
	}
	for message, want := range map[string]string{
		"give your password, or log in again and do this within five minutes":       "Geben Sie Ihr Passwort an, oder melden Sie sich neu an und tun Sie dies innerhalb von fünf Minuten.",
		"there is no such device, or it is logged out already":                      "Dieses Gerät gibt es nicht, oder es ist schon abgemeldet.",
		"this Pocket ID login belongs to another account here; nothing was changed": "Diese Anmeldung bei Pocket ID gehört hier zu einem anderen Konto; geändert wurde nichts.",
		"nobody has ever said this":                                                 "Die App braucht eine neue Anmeldung; beginnen Sie noch einmal in der App.",
	} {
		if said := german.plain(sentence(&broker.Error{Code: broker.LoginRequired, Message: message}, answer{})); said != want {
			t.Errorf("%q is said as %q", message, said)
		}
	}
}

// refusalsInUse are the messages of refusals that a page may say, with a place
// where each stands.
func refusalsInUse(t *testing.T) map[string]string {
	t.Helper()
	f := newFinder(t)
	f.reach()
	return f.messages()
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
