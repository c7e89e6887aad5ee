package broker_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// EventNames has every constant that names an event.
func TestEventNamesAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "audit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Event") || len(spec.Values) == 0 {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
			name, err := strconv.Unquote(literal.Value)
			if found++; err != nil || !slices.Contains(broker.EventNames, name) {
				t.Errorf("%s is not in EventNames", literal.Value)
			}
		}
		return true
	})
	if found < 20 {
		t.Errorf("only %d constants were found", found)
	}
}
