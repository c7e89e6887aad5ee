package web

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// forPrograms are the codes whose messages are for whoever writes the app or runs
// the provider: the sentence of the code says to a person as much.
var forPrograms = []string{
	"InvalidClient", "CodeInvalid", "CodeReused", "InvalidToken", "TokenExpired", "NoToken", "KeyMismatch", "InsufficientScope", "InvalidDPoPProof",
	"UseDPoPNonce", "UnsupportedGrantType", "AuthorizationPending", "SlowDown", "UnauthorizedClient", "InvalidScope", "InvalidTarget",
	"RequestNotSupported", "RequestURINotSupported", "UnsupportedResponseType", "ConsentRequired", "InvalidRequestURI", "IdPBadResponse",
}

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

// placeNames are the places of what is put together, in the order of the English.
var placeNames = []string{"{one}", "{two}", "{three}", "{four}"}

// messageOf is what a refusal says, with places for what is not written down
// there; empty: nothing of it is.
func messageOf(e ast.Expr) string {
	var n int
	place := func() string { n++; return placeNames[n-1] }
	var read func(e ast.Expr) string
	read = func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BasicLit:
			return constant.StringVal(constant.MakeFromLiteral(e.Value, e.Kind, 0))
		case *ast.BinaryExpr:
			return read(e.X) + read(e.Y)
		case *ast.CallExpr:
			if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
				said := read(e.Args[0])
				for _, verb := range []string{"%d", "%q"} {
					for strings.Contains(said, verb) {
						said = strings.Replace(said, verb, place(), 1)
					}
				}
				return said
			}
		}
		return place()
	}
	if said := read(e); strings.ContainsFunc(places.ReplaceAllString(said, ""), func(r rune) bool { return r >= 'a' && r <= 'z' }) {
		return said
	}
	return ""
}

// refusalsInUse are the messages of refusals that a page may say, with a place
// where each stands.
func refusalsInUse(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	files := token.NewFileSet()
	for _, folder := range []string{".", "../broker", "../storage", "../providers/password"} {
		names, err := fs.Glob(os.DirFS(folder), "*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(files, path.Join(folder, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, message := range weaknesses(file) {
				out[message] = name
			}
			ast.Inspect(file, func(n ast.Node) bool {
				code, said := refusalIn(n)
				if said != nil && !slices.Contains(forPrograms, code) {
					if message := messageOf(said); message != "" && !ofProtocol(message) {
						out[message] = files.Position(n.Pos()).String()
					}
				}
				return true
			})
		}
	}
	return out
}

// weaknesses are what the judge says of passwords: what describe returns and what
// else advise is called with, each with the advice behind it.
func weaknesses(file *ast.File) (out []string) {
	found, advice := []string{}, ""
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ReturnStmt:
				switch {
				case f.Name.Name == "advise":
					advice = strings.TrimPrefix(messageOf(n.Results[0]), "{one}")
				case f.Name.Name == "describe":
					found = append(found, messageOf(n.Results[0]))
				}
			case *ast.CallExpr:
				if nameOf(n.Fun) == "advise" {
					if said := messageOf(n.Args[0]); said != "" {
						found = append(found, said)
					}
				}
			}
			return true
		})
	}
	for _, said := range found {
		if advice != "" {
			out = append(out, said+advice)
		}
	}
	return out
}

// ofProtocol reports whether a message is fixed by a contract with apps, which
// read it in English.
func ofProtocol(message string) bool {
	for _, begins := range []string{"Invalid ", "Only S256", "code_challenge required", "you cannot {"} {
		if strings.HasPrefix(message, begins) {
			return true
		}
	}
	return false
}

// refusalIn is the code and the message of a refusal that is made there.
func refusalIn(n ast.Node) (code string, message ast.Expr) {
	switch n := n.(type) {
	case *ast.CallExpr:
		switch nameOf(n.Fun) {
		case "refuse", "fault":
			return nameOf(n.Args[0]), n.Args[len(n.Args)-1]
		case "badMetadata", "tooMany":
			return "", n.Args[0]
		case "within":
			return "", n.Args[len(n.Args)-1]
		case "mayLose":
			return "", &ast.BinaryExpr{X: literal("you cannot "), Y: &ast.BinaryExpr{X: n.Args[1], Y: literal("; another administrator can")}}
		}
	case *ast.ValueSpec:
		if n.Names[0].Name == "message" && len(n.Values) == 1 {
			return "", n.Values[0]
		}
	case *ast.CompositeLit:
		if nameOf(n.Type) != "Error" {
			return "", nil
		}
		for _, e := range n.Elts {
			switch pair, ok := e.(*ast.KeyValueExpr); {
			case ok && nameOf(pair.Key) == "Code":
				code = nameOf(pair.Value)
			case ok && nameOf(pair.Key) == "Message":
				message = pair.Value
			}
		}
	}
	return code, message
}

func literal(said string) ast.Expr {
	return &ast.BasicLit{Kind: token.STRING, Value: strconv.Quote(said)}
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
