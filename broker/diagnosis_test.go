package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

func rootSecrets(t *testing.T, texts ...string) (out tokens.Secrets) {
	t.Helper()
	for _, text := range texts {
		s, err := tokens.NewRootSecret([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// Only who has the root secret is told how a request looked, and for five minutes.
func TestAttackerAsksForADiagnosis(t *testing.T) {
	r := harness.New(t, "", nil)
	held, stranger := rootSecrets(t, harness.Secret), rootSecrets(t, "the root secret of somebody else, long enough")
	now := r.Clock.Now()
	good := broker.NewQuestion(held, "nonce", now)
	parts := strings.Split(good, ".")
	for name, question := range map[string]string{
		"nothing": "", "of another secret": broker.NewQuestion(stranger, "nonce", now), "of another nonce": parts[0] + ".other." + parts[2],
		"of another time": "1.nonce." + parts[2], "too old": broker.NewQuestion(held, "nonce", now.Add(-6*time.Minute)),
		"too early": broker.NewQuestion(held, "nonce", now.Add(6*time.Minute)), "too long": broker.NewQuestion(held, strings.Repeat("n", 300), now),
		"a part more": good + ".x", "a time that is none": "x.nonce." + held.Current().Tag("diagnosis question", "x", "nonce"),
	} {
		if answer, proof, err := r.Broker.AnswerQuestion(question, broker.Sight{}); broker.CodeOf(err) != broker.Forbidden || answer != nil || proof != "" {
			t.Errorf("%s: %s, %v", name, answer, err)
		}
	}
	answer, proof, err := r.Broker.AnswerQuestion(good, broker.Sight{Host: strings.Repeat("h", 5000), ForwardedFor: strings.Repeat("f", 5000)})
	if err != nil || len(answer) > 2000 {
		t.Fatalf("%d bytes, %v", len(answer), err)
	}
	if seen, err := broker.ReadAnswer(held, "nonce", answer, proof); err != nil || len(seen.Keys) == 0 || seen.Now != now.UnixMilli() {
		t.Errorf("%+v, %v", seen, err)
	}
	// An answer to another question, of another server, or one that was changed on
	// the way proves nothing.
	changed := []byte(strings.Replace(string(answer), "hhh", "iii", 1))
	for name, f := range map[string]func() error{
		"another question": func() error { _, err := broker.ReadAnswer(held, "other", answer, proof); return err },
		"another server":   func() error { _, err := broker.ReadAnswer(stranger, "nonce", answer, proof); return err },
		"changed":          func() error { _, err := broker.ReadAnswer(held, "nonce", changed, proof); return err },
		"no proof":         func() error { _, err := broker.ReadAnswer(held, "nonce", answer, ""); return err },
	} {
		if f() == nil {
			t.Errorf("%s was believed", name)
		}
	}
}

// A server whose root secret has changed answers who still has the earlier one.
func TestDiagnosisUnderAnEarlierSecret(t *testing.T) {
	const fresh = "the root secret that came after, long enough"
	r := harness.New(t, "", func(c *broker.Config) { c.Secrets = rootSecrets(t, fresh, harness.Secret) })
	earlier := rootSecrets(t, harness.Secret)
	answer, proof, err := r.Broker.AnswerQuestion(broker.NewQuestion(earlier, "nonce", r.Clock.Now()), broker.Sight{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := broker.ReadAnswer(earlier, "nonce", answer, proof); err != nil {
		t.Error(err)
	}
}
