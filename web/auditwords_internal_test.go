package web

import (
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// Every event has a sentence, which says whom it is about.
func TestEveryEventHasASentence(t *testing.T) {
	for _, name := range broker.EventNames {
		if auditSentences[name] == nil {
			t.Errorf("no sentence for %s", name)
		}
	}
	if len(auditSentences) != len(broker.EventNames) {
		t.Errorf("%d sentences for %d events", len(auditSentences), len(broker.EventNames))
	}
}

func TestNoCellIsAFormula(t *testing.T) {
	for _, text := range []string{"=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1"} {
		if got := harmlessCell(text); !strings.HasPrefix(got, "'") {
			t.Errorf("%q", got)
		}
	}
	for _, text := range []string{"", "a=1", "{}", "2026-01-01"} {
		if harmlessCell(text) != text {
			t.Errorf("%q was changed", text)
		}
	}
}
